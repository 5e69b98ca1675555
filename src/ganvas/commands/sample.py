"""`ganvas sample`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ganvas.commands.options import GanOption
from ganvas.data.reading import SIGNED
from ganvas.recipe import Device, ImageSpec
from ganvas.runs.train_options import WHOLE

if TYPE_CHECKING:
    from ganvas.sampling.samples import ImageMaker
    from ganvas.sampling.walks import Walk


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WalkOptions:
    """The options that say where among the latents the images lie.

    Parameters
    ----------
    truncation
        Factor of the latents: below 1, images are more usual and less varied.
    interpolate
        Number of steps from --seed to the next seed, or to those of --to. As a .png, each step is a
        row; as a .gif, .webp or .mp4, a frame.
    to
        Seeds to go to, in turn: 7, or 7,9,3.
    vary
        Index of an image to make variations of.
    amount
        How far --vary goes: the share of the latent that is drawn anew, 0 to 1.
    """

    truncation: float = 1.0
    interpolate: Annotated[int, WHOLE] = 0
    to: Annotated[str | None, SIGNED] = None
    vary: Annotated[int | None, WHOLE] = None
    amount: float = 0.1

    def walk(self) -> Walk:
        """Return the walk. Raises SettingError for values that it does not take."""
        from ganvas.sampling.walks import Walk, parse_seeds

        return Walk(
            truncation=self.truncation,
            steps=self.interpolate,
            to=() if self.to is None else parse_seeds(self.to),
            vary=self.vary,
            amount=self.amount,
        )


SEED_ALONE = WalkOptions()


def sample(
    source: Path,
    /,
    *,
    n: Annotated[int | None, WHOLE] = None,
    labels: Annotated[str | None, SIGNED] = None,
    seed: Annotated[int, WHOLE] = 0,
    options: WalkOptions = SEED_ALONE,
    out: Path = Path("result.png"),
    columns: Annotated[int | None, WHOLE] = None,
    scale: Annotated[int | None, WHOLE] = None,
    gan: GanOption = None,
    device: Device = "cpu",
) -> None:
    """Make images with a trained generator.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, an .onnx of ganvas export, or digits, a
        generator that comes with ganvas.
    n
        Number of images. They go through the classes, or through those of --labels, in turn.
    labels
        Classes to make: one per character (20231223), names with commas (cat,dog), numbers of
        images of each (3x50,7x50), or balanced.
    seed
        Seed of the latents: image k of a seed is always the same.
    out
        A .png (one row for a sequence, else a sheet), .npz or .zip, or a new folder; with
        --interpolate also a .gif, .webp or .mp4.
    columns
        Images in a row of the PNG.
    scale
        Pixels of the PNG per pixel of an image. Default: 4.
    device
        Device of the generator.
    """
    from ganvas.sampling.samples import check_output, kind_of, make, sample_request

    walk = options.walk()
    # refuses what cannot be written before anything is read
    kind_of(out, frames=walk.frames > 1)
    sampler, image = _open(source, gan, device)
    order = sample_request(sampler, n=n, labels=labels, walk=walk)
    shape = order.n * walk.frames, image.height, image.width, image.channels
    frame = order.n if walk.frames > 1 else 0
    check_output(out, shape, order.columns, columns, scale, frame)
    print(make(sampler, order, seed, walk).save(out, columns=columns, scale=scale))


def _open(source: Path, gan: str | None, device: Device) -> tuple[ImageMaker, ImageSpec]:
    """Return the generator at `source`, and the shape of its images. Of .onnx without torch."""
    if source.suffix.lower() == ".onnx" and not source.is_dir():
        from ganvas.errors import SettingError
        from ganvas.sampling.onnx_sampler import OnnxSampler

        if gan is not None:
            raise SettingError(f"--gan {gan}: {source} holds its networks; leave --gan out")
        if device not in ("cpu", "auto"):
            raise SettingError(f"--device {device}: {source} runs on the CPU; leave --device out")
        exported = OnnxSampler(source)
        return exported, exported.card.image

    from ganvas.runs.run import Run
    from ganvas.runs.weights import locate_generator, open_generator
    from ganvas.system.machine import pick_device

    source = locate_generator(source)
    where = pick_device(device)
    if source.is_dir():
        sampler, card = Run.open(source, gan=gan).generator(where)
    else:
        sampler, card = open_generator(source, gan, where)
    return sampler, card.image
