"""Rivals of ganvas on 64x64 pictures in colour: plain training loops in PyTorch alone.

    python benchmarks/rivals.py dcgan --data FOLDER --minutes 30 --out rivals/dcgan
    ganvas evaluate rivals/dcgan/samples.npz --data FOLDER

Trains by the clock. Only training counts: neither reading the data nor making samples. Then DIR
holds samples.npz with 2,048 images, sheet.png with 64 of them, and result.json.

dcgan: the networks, losses and settings of `dcgan/64`, with the paper's learning rate of 2e-4.

fastgan: Liu et al. 2021 (arXiv 2101.04775). D judges an image at two resolutions and rebuilds real
ones; skip-layer excitation, hinge loss with margins of 0.8 to 1, DiffAugment, batch 8, an average
of G's weights. Changed from the paper:
- D and its decoders are scaled to 64 pixels: logits at 8 pixels, decoders that make 32x32.
- Rebuilt images are compared by their pixels, absolute and squared differences: the perceptual
  loss needs the weights of a VGG.
- D reduces fakes itself to the second resolution, and no noise is injected into G.
- The average follows faster in the first 9,000 steps. At a constant 0.999, short trainings would
  be judged by their initial weights.

projected: Sauer et al. 2021 (arXiv 2111.01007). Four discriminators of frozen features, mixed by
random weights, of EfficientNet-Lite0; FastGAN's generator, hinge loss, DiffAugment, batch 64, an
average of G's weights. Changed from the paper:
- Images are enlarged to 128 pixels, with --pixels 64 not at all, in place of 224.
- D's and G's step share their fakes, whose features are computed once.

Both have 32 channels next to the image, 512 at 4 pixels: with twice as many (--width 64) a CPU sees
a quarter of the images. All images are augmented, and none is flipped. Samples of an average are
made with BatchNorm's statistics of 1,024 of its own images.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from command_line import say
from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.data.reading import ReadArguments
from ganvas.errors import DataError, GanvasError, RunError, SettingError
from ganvas.sampling import sheets
from ganvas.system import files
from result import commit_of, machine
from rival_loops import DEFAULTS, RIVALS, Options, Rival
from rival_networks import SIDE

SAMPLES, SHEET_SIDE, BATCH_OF_SAMPLES = 2048, 8, 64
SETTLING_BATCHES = 16


@dataclass(frozen=True)
class Trained:
    """The cost of a training, and its last losses."""

    steps: int
    images_seen: int
    seconds: float
    d_loss: float
    g_loss: float


def train(rival: Rival, minutes: float) -> Trained:
    """Take steps until `minutes` have passed. Raises RunError if a loss is no longer finite."""
    steps = images = 0
    seconds = reported = 0.0
    while True:
        began = time.perf_counter()
        step = next(rival.steps)
        seconds += time.perf_counter() - began
        steps, images = steps + 1, images + step.images
        if not (math.isfinite(step.d_loss) and math.isfinite(step.g_loss)):
            raise RunError(f"a loss is {step.d_loss} or {step.g_loss} after {images:,} images")
        last = seconds >= 60 * minutes
        if last or seconds >= reported + 6 * minutes:
            reported = seconds
            losses = f"D {step.d_loss:.3f}, G {step.g_loss:.3f}"
            say(f"{seconds:,.0f} s, {images:,} images, {images / seconds:.1f} a second; {losses}")
        if last:
            return Trained(steps, images, seconds, step.d_loss, step.g_loss)


@torch.no_grad()
def samples(rival: Rival, count: int, seed: int) -> Tensor:
    """Make images uint8 (count, H, W, C) with a trained rival."""
    latents = torch.Generator().manual_seed(seed)

    def noise() -> Iterator[Tensor]:
        while True:
            yield torch.randn(BATCH_OF_SAMPLES, rival.z_dim, generator=latents)

    if rival.settles:
        settle(rival.generator, noise(), SETTLING_BATCHES)
    rival.generator.eval()
    batches_needed = range(-(-count // BATCH_OF_SAMPLES))
    images = torch.cat([rival.generator(z) for _, z in zip(batches_needed, noise(), strict=False)])
    pixels = (127.5 * images[:count] + 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def settle(generator: nn.Module, noise: Iterator[Tensor], batches: int) -> None:
    """Set BatchNorm's statistics to the means over some batches of the generator's images."""
    generator.eval()
    norms = [each for each in generator.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for _ in range(batches):
        generator(next(noise))
    generator.eval()


def read(source: str, **options: Unpack[ReadArguments]) -> Dataset:
    """Read the training images. Raises DataError unless they are 64x64 in colour.

    options: size and channels, see `data.load_dataset`.
    """
    dataset = data.load_dataset(source, native=(SIDE, SIDE), **options)
    shape = dataset.height, dataset.width, dataset.channels
    if shape != (SIDE, SIDE, 3):
        found = "{}x{} with {} channels".format(*shape)
        raise DataError(
            f"{source}: images are {found}, the rivals are made for {SIDE}x{SIDE} with 3; give"
            f" --size {SIDE}, --channels 3, or other data"
        )
    for note in dataset.notes:
        say(note)
    return dataset


def parameters(networks: dict[str, nn.Module]) -> dict[str, int]:
    """The number of parameters of each network."""
    return {name: sum(p.numel() for p in each.parameters()) for name, each in networks.items()}


def positive(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected more than 0")
    return float(text)


def count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)


def seed(text: str) -> int:
    if not 0 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 to {2**63 - 1}")
    return int(text)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a rival of ganvas for a given time.")
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("--data", required=True, help="64x64 images in colour to train on")
    parser.add_argument("--size", type=int, choices=(SIDE,), help="resize all images to it")
    parser.add_argument("--channels", type=int, choices=(3,), help="turn all images into RGB")
    parser.add_argument("--minutes", required=True, type=positive, help="of training")
    parser.add_argument("--threads", type=count, default=1, help="of PyTorch (default 1)")
    parser.add_argument("--seed", type=seed, default=0, help="of weights and samples (default 0)")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--batch", type=count, help="images in a batch (default: the paper's)")
    parser.add_argument("--width", type=count, help="channels of the layer next to the image")
    parser.add_argument(
        "--pixels",
        type=int,
        choices=(64, 128),
        help="projected: side of the feature network's input (default 128)",
    )
    return parser.parse_args(arguments)


def options_of(given: argparse.Namespace) -> Options:
    """The rival's options with those given. Raises SettingError for one that it lacks."""
    usual = DEFAULTS[given.rival]
    if given.pixels is not None and usual.pixels is None:
        raise SettingError(f"--pixels {given.pixels} is for projected, not {given.rival}")
    chosen = {name: getattr(given, name) for name in asdict(usual)}
    return replace(usual, **{name: value for name, value in chosen.items() if value is not None})


def refuse_output(out: Path) -> None:
    """Raises RunError unless results can be written to a folder that is new or empty."""
    with files.writing(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"--out {out} exists: give a new folder")
    files.refuse_unwritable(out / "result.json" if out.exists() else out)


def run(arguments: list[str] | None = None) -> None:
    given = parsed(arguments)
    options, out = options_of(given), given.out
    refuse_output(out)
    dataset = read(given.data, size=given.size, channels=given.channels)
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(given.seed)
    load = os.getloadavg()[0]
    rival = RIVALS[given.rival](dataset.images, options)
    cost = train(rival, given.minutes)
    images = samples(rival, SAMPLES, given.seed).numpy()
    report = {
        "rival": given.rival,
        "options": asdict(options),
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "training_images": len(dataset),
        "minutes": given.minutes,
        "seed": given.seed,
        **asdict(cost),
        "images_per_second": cost.images_seen / cost.seconds,
        "parameters": parameters(rival.trained),
        "frozen_parameters": parameters(rival.frozen),
        "threads": given.threads,
        "torch": str(torch.__version__),
        "machine": machine(),
        "load": round(load, 2),
        "commit": commit_of(Path(__file__).parents[1]),
    }
    files.write(out / "samples.npz", lambda file: np.savez_compressed(file, images=images))
    sheets.save_sheet(out / "sheet.png", images[: SHEET_SIDE**2], SHEET_SIDE)
    files.write(out / "result.json", json.dumps(report, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> int:
    try:
        run(arguments)
    except GanvasError as error:
        say(f"rivals.py: {' '.join(str(error).split())}")
        return 2
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
