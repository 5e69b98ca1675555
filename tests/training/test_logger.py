"""The log: statistics of steps, and which lines have checkups and gradient norms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from ganvas import gans, objectives
from ganvas.gan import Logits
from ganvas.recipe import Interval
from ganvas.runs import loss_curves
from ganvas.training.logger import checkup_interval, statistics
from helpers.common import assert_same_run, train
from helpers.patients import RECIPES

pytestmark = pytest.mark.usefixtures("steady")


def test_statistics_are_both_losses_both_scores_and_accuracy() -> None:
    step = Logits(torch.tensor([0.0, 3.0]), torch.tensor([0.0, -3.0]), torch.tensor([1.0]), None)
    d_loss, g_loss, real, fake, accuracy = statistics(objectives.least_squares, 0.5, [step])[
        0
    ].tolist()
    assert d_loss == pytest.approx((0.5 * 1 + 0.5 * (4 + 9)) / 2 * 0.5)
    assert (g_loss, real, fake, accuracy) == (0.0, 1.5, -1.5, 0.75)


def test_a_paired_objective_also_gets_the_real_images_of_gs_step() -> None:
    paired = dataclasses.replace(
        objectives.hinge, g_loss=lambda real, fake: real - fake, paired=True
    )
    steps = [
        Logits(torch.zeros(2), torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([5.0, k]))
        for k in (0.0, 4.0)
    ]
    assert statistics(paired, 1.0, steps)[:, 1].tolist() == [1.0, 3.0]


def test_a_paired_objectives_d_is_right_where_the_real_image_has_the_higher_logit() -> None:
    step = Logits(
        torch.tensor([5.0, 7.0, 9.0, 1.0]),
        torch.tensor([4.0, 8.0, 3.0, 0.0]),
        torch.zeros(4),
        torch.zeros(4),
    )
    assert statistics(objectives.relativistic, 1.0, [step])[0, 4].item() == 0.75


def test_the_legends_of_the_curves_hide_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    loss_curves.losses(
        [{"epoch": k, "d_loss": 1, "g_loss": k, "d_real": 1, "d_fake": 0} for k in range(5)]
    )
    for axes in drawn[0].axes:
        figure = drawn[0]
        figure.draw_without_rendering()
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().y0 >= axes.get_window_extent().y1


def test_no_steps_have_no_statistics() -> None:
    assert statistics(objectives.hinge, 1.0, []).shape == (0, 5)


@pytest.mark.parametrize(("last", "drawn"), [(4.2, 4), (4.4, 4), (4.6, 5), (5.0, 5)])
def test_the_curves_leave_out_a_short_last_interval(
    last: float, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    loss_curves.losses(
        [
            {"epoch": at, "d_loss": 1, "g_loss": 2, "d_real": 1, "d_fake": 0}
            for at in (1, 2, 3, 4, last)
        ]
    )
    assert [len(line.get_xdata()) for axes in figures[0].axes for line in axes.lines] == [drawn] * 4


@pytest.mark.parametrize(
    ("log", "lines"), [("1 step", [16, 32, 40]), ("4 steps", [4 * k for k in range(1, 11)])]
)
def test_where_every_step_has_a_line_few_of_them_have_gradient_norms(
    log: str, lines: list[int], tmp_path: Path
) -> None:
    settings = {"log": log, "sheet": "1000 epochs"}
    run = train("cgan/tiny", tmp_path / "run", images=40 * 16.0, settings={**settings, "batch": 16})
    found = run.read_log()
    assert [line["step"] for line in found if "g_gradient" in line] == lines
    assert len(found) == 40 / int(log[0])


@pytest.mark.parametrize("recipe", [name for name in RECIPES if not name.endswith("/tiny")])
@pytest.mark.parametrize("planned", [10_000, 30_000, 10_000_000])
def test_trainings_of_any_length_have_ten_to_fifty_checkups(recipe: str, planned: int) -> None:
    own = gans.find_recipe(recipe)[2].train
    log, sheet = (Interval.parse(text).images(own.batch, 60_000) for text in (own.log, own.sheet))
    assert 10 <= planned / checkup_interval(log, sheet, planned) <= 50


def test_a_short_training_has_as_many_checkups_as_sheets() -> None:
    assert checkup_interval(32, 160, 320) == 160
    assert checkup_interval(60_000, 60_000, 3000) == 1000


def test_first_sheets_come_at_doubling_lengths_until_the_interval(tmp_path: Path) -> None:
    settings = {"batch": 8, "sheet": "100 images", "first_sheet": "20 images", "log": "100 steps"}
    run = train("cgan/tiny", tmp_path / "run", images=240.0, settings=settings)
    assert [images for images, _ in run.sheets()] == [24, 40, 80, 104, 200, 240]


def test_digits_and_pictures_have_a_sheet_within_seconds() -> None:
    """On the slowest machines digits see 600 images a second and pictures some 20 to 60."""
    for name, most in (("r3gan/digits", 3000), ("r3gan/images", 250), ("projected/images", 200)):
        train_config = gans.find_recipe(name)[2].train
        assert train_config.first_sheet is not None
        first = Interval.parse(train_config.first_sheet).images(train_config.batch, 60_000)
        assert first <= most


@pytest.mark.parametrize(
    ("log", "lines", "checkups"),
    [
        ("10 epochs", [112, 208, 304, 336], [112, 208, 304]),
        ("10 steps", [80, 160, 240, 320, 336], [160, 240, 320]),
        ("48 images", [48, 96, 144, 192, 240, 288, 336], [144, 240, 336]),
    ],
)
def test_a_checkup_is_part_of_a_line_however_rare_these_are(
    log: str,
    lines: list[int],
    checkups: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: Callable[[int], None],
) -> None:
    """The log also has the requested lines, and does not depend on a stop."""
    monkeypatch.setattr("ganvas.training.logger.CHECKUP_IMAGES", 100)
    settings = {"log": log, "sheet": "1000 epochs", "batch": 16}
    whole = train("cgan/tiny", tmp_path / "whole", images=336.0, settings=settings)
    assert [line["images"] for line in whole.read_log()] == lines
    assert [line["images"] for line in whole.read_log() if "diversity" in line] == checkups
    stop_after(8)
    with pytest.raises(KeyboardInterrupt):
        train("cgan/tiny", tmp_path / "pieces", images=336.0, settings=settings)
    assert_same_run(
        whole.path, train("cgan/tiny", tmp_path / "pieces", images=336.0, settings=settings).path
    )
