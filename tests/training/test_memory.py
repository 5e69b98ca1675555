"""Trainings and files that would not fit into memory are refused before memory is allocated."""

from __future__ import annotations

import dataclasses
import gzip
import math
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from ganvas import gans
from ganvas.data.formats.idx import images_and_labels
from ganvas.errors import DataError, SettingError
from ganvas.launch import launch
from ganvas.overrides import override, resolve_gamma
from ganvas.recipe import ImageSpec
from ganvas.runs.weights import read_weights, shipped_generators
from ganvas.system.machine import peak_rss_mb
from ganvas.training import preflight
from helpers.common import MY_GAN, refusal

SMALL = ImageSpec(height=64, width=64, channels=3)


@pytest.mark.parametrize("settings", [{"z_dim": 2**31 - 1}, {"g_widths": [10**6, 10**6]}])
def test_networks_larger_than_memory(settings: dict[str, object]) -> None:
    before = peak_rss_mb()
    with pytest.raises(
        SettingError, match=r"parameters need .* GB to train, this machine has .* of memory"
    ):
        launch.train("mlp/relu", settings=settings, images=16, threads=1, quiet=True)
    assert peak_rss_mb() - before < 1000


def test_a_batch_larger_than_memory() -> None:
    with pytest.raises(
        SettingError, match=r"train\.batch=2000000000 .* would take 6,272 GB of 28x28 grey"
    ):
        launch.train(
            "mlp/relu", settings={"batch": 2_000_000_000}, images=16, threads=1, quiet=True
        )


@pytest.mark.parametrize("blocks", [10**8, -1])
def test_a_card_that_describes_huge_networks(
    blocks: int, tmp_path: Path, cli_run: Callable[..., Any], bounded: None
) -> None:
    tensors, card = read_weights(shipped_generators()["digits"])
    card = dataclasses.replace(card, model=card.model | {"blocks": blocks})
    save_file(tensors, tmp_path / "g.safetensors", {"ganvas": card.to_json()})
    assert "model.blocks: expected `int`" in cli_run("sample", "g.safetensors").error


def test_a_gzipped_file_that_unpacks_to_much_more(tmp_path: Path) -> None:
    shape = (20_000, 28, 28)  # 15 MiB, below what may swell as it likes
    packed = gzip.compress(bytes(math.prod(shape)), 9)
    for n, swells in ((20_000, False), (40_000, True)):
        head = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4, "big") for side in (n, 28, 28))
        (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(head) + packed * (n // 20_000)
        )
        if swells:
            with pytest.raises(
                DataError, match="claims 30 MiB of pixels, more than 250 times its own size"
            ):
                images_and_labels(tmp_path / "x-images-idx3-ubyte.gz")
        else:
            assert images_and_labels(tmp_path / "x-images-idx3-ubyte.gz")[0].shape == shape


@pytest.mark.parametrize(
    ("recipe", "spec", "batch", "cure"),
    [
        (
            "r3gan/images",
            ImageSpec(height=2000, width=1500, channels=3),
            64,
            ": use --size 64 or a smaller batch",
        ),
        (
            "dcgan/64",
            ImageSpec(height=64, width=64, channels=3),
            10**5,
            ": use a smaller batch",
        ),
    ],
)
def test_steps_larger_than_memory(
    recipe: str, spec: ImageSpec, batch: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone's photos in full size: the batch would fit, the layers' outputs would not."""
    monkeypatch.setattr(preflight, "_memory", lambda _: 32 * 10**9)
    file = gans.load_gan(recipe.partition("/")[0])
    changed = override(file.recipes[recipe.partition("/")[2]], {"batch": batch})
    message = refusal(preflight.networks, file, resolve_gamma(changed, spec)[0], spec, "cpu", 0)
    assert re.search(rf"takes at least [0-9,]+ GB of memory, this machine has .*{cure}", message)
    assert preflight.networks(file, resolve_gamma(file.recipes["tiny"], SMALL)[0], SMALL, "cpu", 0)


def test_a_steps_memory_is_that_of_its_layers_outputs() -> None:
    """Counted by hand, in float32; D's flattened images are a view."""
    file, spec = gans.load_gan("mlp"), ImageSpec(height=8, width=8, channels=1)
    recipe = override(file.recipes["tiny"], {"batch": 10})
    took = preflight.step_bytes(file, recipe.model, recipe.train, spec)
    double = preflight.step_bytes(file, recipe.model, override(recipe, {"batch": 20}).train, spec)
    assert double == pytest.approx(2 * took, rel=0.02)
    outputs = (
        sum(width for width in recipe.model.g_widths) + 64 + 2 * (sum(recipe.model.d_widths) + 1)
    )
    assert 1 <= took / (10 * 4 * outputs) <= 3


def test_networks_that_need_numbers_to_run_are_not_measured(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        MY_GAN.replace("return torch.tanh(", "z.sum().item(); return torch.tanh(")
    )
    file = gans.load_gan(str(tmp_path / "my.py"))
    recipe = file.recipes["one"]
    assert preflight.step_bytes(file, recipe.model, recipe.train, recipe.native) == 0
    assert preflight.networks(file, recipe, recipe.native, "cpu", 0)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings"
)
def test_a_steps_memory_is_kept_for_the_next_one() -> None:
    """Fresh pages from the system cost a tenth of a small convolutional step."""
    script = """
import resource, torch
from ganvas.training.benchmark import prepare_cpu
prepare_cpu()
def step(): return [torch.ones(n * 100_000) for n in range(1, 20)]  # up to 7.6 MB each
for _ in range(5): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""
    pages = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert float(pages) < 100  # a step, of 18,500 that it writes to
