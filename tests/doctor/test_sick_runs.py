"""Trainings made ill on purpose are recognised, and healthy ones cause no alarm: by `ganvas doctor`
and while they go on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas import cli, data
from ganvas.errors import RunError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.training import loop
from ganvas.views.diagnosis import Diagnosis, examine
from helpers.common import put_idx, spoil_weights, train

FILE = """
import torch
from torch import nn
from ganvas import data
from ganvas.gans import mlp
from ganvas.data.pixels import to_float

Config, RECIPES = mlp.Config, {"tiny": mlp.RECIPES["tiny"]}

class Ignores(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, z):
        return self.inner(torch.ones_like(z))

class Copies(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.images = nn.Parameter(to_float(data.load_dataset("mnist-5k").images))
    def forward(self, z):
        return self.images[(z[:, 0] * 1e5).long() % len(self.images)].clamp(-1, 1)

class ThreesAndEights(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, digits = inner, data.load_dataset("mnist-5k", split="test")
        chosen = (digits.labels == 3) | (digits.labels == 8)
        self.images = nn.Parameter(to_float(digits.images[chosen]))
    def forward(self, z):
        digits = self.images[(z[:, 0] * 1e5).long() % len(self.images)]
        return (0.8 * digits + 0.2 * self.inner(z)).clamp(-1, 1)

class FivePictures(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, digits = inner, data.load_dataset("mnist-5k", split="test")
        first = [int((digits.labels == k).nonzero()[0]) for k in range(5)]
        self.images = nn.Parameter(to_float(digits.images[first]))
    def forward(self, z):
        return (0.9 * self.images[(z[:, 0] * 1e5).long() % 5] + 0.001 * self.inner(z)).clamp(-1, 1)

class NearlyOnePicture(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, digits = inner, data.load_dataset("mnist-5k", split="test")
        self.images = nn.Parameter(to_float(digits.images))
    def forward(self, z):
        digits = self.images[(z[:, 0] * 1e5).long() % len(self.images)]
        alike = 0.85 * self.images[:1] + 0.15 * digits
        return (alike + 0.001 * self.inner(z)).clamp(-1, 1)

class Chequered(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, digits = inner, data.load_dataset("mnist-5k", split="test")
        self.images = nn.Parameter(to_float(digits.images))
        place = torch.arange(28)
        self.register_buffer("odd", 1 - 2.0 * ((place.unsqueeze(1) + place) % 2))
    def forward(self, z):
        digits = self.images[(z[:, 0] * 1e5).long() % len(self.images)]
        return (0.8 * digits + 0.2 * self.inner(z) + 0.5 * self.odd).clamp(-1, 1)

class Deep(nn.Module):
    def __init__(self, inner):
        super().__init__()
        layers = [layer for _ in range(12) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
        self.layers = nn.Sequential(*layers, nn.Linear(8, 784, bias=False))
    def forward(self, z):
        return torch.tanh(self.layers(z) * 1e-3).view(-1, 1, 28, 28)

def build(config, spec):
    gan = mlp.build(config, spec)
    gan.generator = KIND(gan.generator)
    return gan
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a space in its name."""
    (tmp_path / "a desk").mkdir()
    monkeypatch.chdir(tmp_path / "a desk")
    return tmp_path / "a desk"


def digits(folder: Path, number: int, held_out: int = 0) -> str:
    """Write `number` digits as IDX files, and `held_out` others as a held-out part."""
    for part, split, count in (("train", "train", number), ("t10k", "test", held_out)):
        if count:
            some = data.load_dataset("mnist-5k", split=split)  # type: ignore[arg-type]
            assert some.labels is not None
            put_idx(folder, part, some.images[:count, 0].numpy(), some.labels[:count].tolist())
    return str(folder)


def often(images: int) -> dict[str, Any]:
    """Return intervals that give a short training the log lines and checkups of a long one."""
    return {"log": f"{max(1, images // 60)} images", "sheet": f"{images // 15} images"}


def train_and_diagnose(
    recipe: str, images: int, captured: pytest.CaptureFixture[str], **options: Any
) -> tuple[Diagnosis, str]:
    """Train; return what the doctor says afterwards and the lines shown to the user meanwhile."""
    captured.readouterr()
    run = launch.train(recipe, images=images, out="a run", threads=1, precision="32", **options)
    run.gan = recipe.partition(":")[0] if ".py" in recipe else None
    return examine(run), captured.readouterr().err


# What is wrong: state, recipe (or kind of G), images, settings, what the command says.
CASES: dict[str, tuple[str, str, int, dict[str, Any], str]] = {
    "a rate far too high":
        ("exploding gradients", "cgan/tiny", 3000, {"lr": 1.0}, "lr=0.001"),
    "a critic without its penalty":
        ("exploding gradients", "wgan-gp/tiny", 1600, {"gamma": 0}, "gamma=10"),
    "gradients through twelve sigmoids":
        ("vanishing gradients", "Deep", 3000, {}, "eps=1e-12"),
    "a rate of next to nothing":
        ("learning stalled", "cgan/tiny", 3000, {"lr": 1e-9}, "lr=0.001"),
    "a D much faster than its G":
        ("D overpowers G", "mlp/tiny", 12000, {"lr": 1e-6, "d_lr": 1e-2}, "d_lr=0.001"),
    "an r3gan without its penalties":
        ("D overpowers G", "r3gan/tiny", 6400, {"gamma": 0}, "gamma=2.4"),
    "a G that does not look at its latents":
        ("mode collapse", "Ignores", 3000, {}, "r3gan/digits"),
    "a G that makes two of ten digits":
        ("mode collapse", "ThreesAndEights", 3000, {}, "r3gan/digits"),
    "a G that makes five pictures":
        ("mode collapse", "FivePictures", 3000, {}, "r3gan/digits"),
    "a G whose pixels are darker in turns":
        ("checkerboards", "Chequered", 12_000, {}, "projected/images"),
    "a G that returns training images":
        ("memorising", "Copies", 3000, {}, "augment=adaptive"),
    "100 images and no restraint":
        ("D overfits the training set", "sngan/tiny", 4000, {"width": 8}, "augment=adaptive"),
    "20 images":
        ("starving on tiny data", "mlp/tiny", 3000, {}, "augment=adaptive"),
    "20 images, augmented":
        ("starving on tiny data", "r3gan/tiny", 1600, {}, "gamma=9.6"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_found_and_reported_once(
    case: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, recipe, images, settings, change = CASES[case]
    options: dict[str, Any] = {"seed": 1}
    if "/" not in recipe:
        (desk / "my gan.py").write_text(FILE.replace("KIND", recipe))
        recipe = "my gan.py:tiny"
    if case[0].isdigit():
        number = int(case.split()[0])
        options["data"] = digits(
            desk / "few digits", number, held_out=2 * number if number == 100 else 0
        )
    diagnosis, shown = train_and_diagnose(
        recipe, images, capsys, settings=often(images) | settings, **options
    )
    first = diagnosis.findings[0]
    assert (diagnosis.state, first.state) == (expected, expected), diagnosis.to_text()
    assert any(character.isdigit() for character in first.evidence)
    assert change in shlex.split(first.command)
    notices = [line for line in shown.splitlines() if line.startswith(f"doctor: {expected}: ")]
    assert len(notices) == 1, shown
    words = shlex.split(first.command)
    assert notices[0].endswith(f"; next: {first.command}")
    assert words[:2] == ["ganvas", "train"]
    # the command works, here with a shorter length
    assert cli.run([*words[1:], "--images", "16", "--threads", "1", "--out", "again"]) == 0


# Recipe, images, settings, seed, state: the default recipe more often than others. Samples of the
# young ones are still nearly alike, or have a border of their own.
HEALTHY: list[tuple[str, int, dict[str, Any], int, str]] = [
    ("r3gan/digits", 4000, {}, 0, "healthy"),
    ("r3gan/stacked-mnist", 1200, {"width": 8}, 0, "too early to tell"),
    ("r3gan/tiny", 3000, {}, 0, "healthy"),
    ("sngan/tiny", 2400, {}, 1, "too early to tell"), ("wgan-gp/tiny", 2400, {}, 1, "healthy"),
    ("dcgan/64", 1600, {"width": 8}, 0, "too early to tell"),
    ("dcgan/tiny", 1600, {}, 1, "too early to tell"),
    ("cgan/tiny", 4000, {}, 1, "too early to tell"), ("mlp/batchnorm", 4800, {}, 0, "healthy"),
    ("mlp/tiny", 8000, {}, 0, "healthy"), ("mlp/tiny", 8000, {}, 1, "healthy"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "images", "settings", "seed", "state"), HEALTHY)
def test_healthy_trainings_give_no_alarm(
    recipe: str,
    images: int,
    settings: dict[str, Any],
    seed: int,
    state: str,
    desk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"size": (32, 32)} if recipe == "dcgan/64" else {}
    diagnosis, shown = train_and_diagnose(
        recipe, images, capsys, settings=often(images) | settings, seed=seed, **options
    )
    assert diagnosis.state == state, diagnosis.to_text()
    assert len(diagnosis.findings) == 1
    assert "doctor:" not in shown
    verb = "sample" if state == "healthy" else "train"
    assert diagnosis.findings[0].command.startswith(f"ganvas {verb} ")
    assert {
        "diversity",
        "nearest",
        "copying",
        "d_held",
        "memorised",
        "g_gradient",
    } <= diagnosis.figures.keys()


# The same with the recipe's own log and sheets: recipe, images, settings, state.
OWN: list[tuple[str, int, dict[str, Any], str]] = [
    ("cgan/digits", 6000, {"lr": 1.0}, "exploding gradients"),
    ("mlp/leaky", 15_000, {"lr": 1e-9}, "learning stalled"),
    ("mlp/leaky", 15_000, {}, "too early to tell"),
    ("wgan-gp/digits", 2000, {}, "too early to tell"),
    ("sngan/digits", 2000, {}, "too early to tell"),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "images", "settings", "expected"), OWN)
def test_short_trainings_are_diagnosed_at_their_recipes_own_intervals(
    recipe: str,
    images: int,
    settings: dict[str, Any],
    expected: str,
    desk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    diagnosis, shown = train_and_diagnose(recipe, images, capsys, settings=settings)
    reported = [line.split(": ")[1] for line in shown.splitlines() if line.startswith("doctor: ")]
    assert reported == ([] if expected in ("healthy", "too early to tell") else [expected])
    assert diagnosis.state == expected, diagnosis.to_text()


@pytest.mark.long
def test_samples_that_are_nearly_alike_are_not_called_healthy(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain GAN makes such samples for some thousand steps, and then does better or not."""
    (desk / "my gan.py").write_text(FILE.replace("KIND", "NearlyOnePicture"))
    recipe = "my gan.py:tiny"
    diagnosis, shown = train_and_diagnose(recipe, 3000, capsys, settings=often(3000))
    assert diagnosis.figures["nearest"] < 1.8
    assert 0.05 < diagnosis.figures["diversity"] < 0.25
    assert diagnosis.state == "too early to tell", diagnosis.to_text()
    assert "samples are still nearly alike after 188 steps" in diagnosis.to_text()
    assert "doctor:" not in shown
    words = shlex.split(diagnosis.findings[0].command)
    assert words[-4:] == ["--out", "a run", "--images", "15040"]
    assert cli.run([*words[1:-1], "3200", "--threads", "1"]) == 0


class TestNotFinite:
    def test_a_run_that_ended_in_nan_is_diagnosed_from_what_it_left(
        self, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(RunError, match="no longer finite") as ended:
            train("cgan/tiny", desk / "run", images=3200.0, settings={"lr": 1e30})
        (finding,) = examine(Run.open(desk / "run")).findings
        assert str(ended.value).endswith(f"; next: {finding.command}")
        assert finding.state == "NaN"
        assert "step" in finding.evidence
        assert shlex.split(finding.command)[-2:] == ["--set", "lr=0.001"]
        last = json.loads(
            (desk / "run" / "log.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail
        )
        assert None in last.values()  # JSON has no NaN

    def test_so_is_one_whose_losses_were_still_finite(
        self, half_run: Run, copy: Callable[[Run], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = copy(half_run)
        with monkeypatch.context() as patch:
            spoil_weights(patch, "g_parameters", torch.inf, after=144)
            patch.setattr(loop, "SAVE_SECONDS", -1)
            with pytest.raises(RunError, match="no longer finite") as ended:
                train("cgan/tiny", path, images=320.0, seed=7)
        (finding,) = examine(Run.open(path)).findings
        assert finding.state == "NaN"
        assert str(ended.value).endswith(f"; next: {finding.command}")
        train("cgan/tiny", path, images=320.0, seed=7)  # the test did it, so it can go on
        assert examine(Run.open(path)).state == "too early to tell"

    def test_lines_before_it_are_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = loop.take_step

        def broken(learner: Any, batches: Any, seen: int) -> Any:
            logits = step(learner, batches, seen)
            return logits._replace(real=logits.real * torch.nan) if seen == 160 else logits

        monkeypatch.setattr(loop, "take_step", broken)
        monkeypatch.setattr("ganvas.training.logger.FLUSH_SECONDS", 1e9)
        with pytest.raises(RunError, match="no longer finite at 192 images"):
            train("cgan/tiny", tmp_path / "run", images=320.0)
        assert [line["images"] for line in Run.open(tmp_path / "run").read_log()] == [
            32,
            64,
            96,
            128,
            160,
            192,
        ]


def test_a_card_that_relies_on_a_default_is_examined(
    tiny_run: Run, copy: Callable[[Run], Path]
) -> None:
    run = Run.open(copy(tiny_run))
    del run.card.train["d_loss_scale"]
    run.save_card(run.card)
    states = [
        [finding.state for finding in examine(one).findings]
        for one in (Run.open(run.path), tiny_run)
    ]
    assert states[0] == states[1]
