"""The one-dimensional demonstration: it learns the data, says so in numbers, and draws what it
learned."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ganvas.errors import GanvasError, RunError, SettingError
from ganvas.views import demo

pytestmark = pytest.mark.usefixtures("steady")

STEPS = 1500  # as `demo_1d` trains when not told otherwise
EDGES = torch.linspace(-4, 4, 41)


@cache
def trained(seed: int) -> dict[int, demo.Moment]:
    return demo.train_1d(seed, STEPS, at={0, 15, STEPS})


def real_sample(count: int) -> Tensor:
    """Draws from the real density by inverting its sum over a fine grid: a way of its own, not the
    code under test."""
    x = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    below = demo.real_density(x).cumsum(0) * (x[1] - x[0])
    assert below[-1].item() == pytest.approx(1, abs=1e-3)
    return x[torch.searchsorted(below, (torch.arange(count) + 0.5) / count * below[-1])].float()


def total_variation(a: Tensor, b: Tensor) -> float:
    shares = [torch.histogram(x.clamp(-4, 4), EDGES).hist / len(x) for x in (a, b)]
    return 0.5 * (shares[0] - shares[1]).abs().sum().item()


@pytest.mark.parametrize("seed", range(2))
def test_the_generated_density_comes_to_lie_on_the_real_one_for_every_seed(seed: int) -> None:
    start, end, real = trained(seed)[0], trained(seed)[STEPS], real_sample(2000)
    assert total_variation(start.generated, real) > 0.6
    assert total_variation(end.generated, real) < 0.1
    assert start.overlap < 0.4
    assert end.overlap == pytest.approx(1 - total_variation(end.generated, real), abs=0.04)


@pytest.mark.parametrize("seed", range(2))
def test_the_discriminator_is_ahead_early_and_ends_undecided_where_the_data_are(seed: int) -> None:
    early, end = trained(seed)[15], trained(seed)[STEPS]
    assert early.on_real - early.on_generated > 0.05
    weight = demo.real_density(demo.GRID)
    away = ((end.decision - 0.5).abs() * weight).sum() / weight.sum()
    assert away < 0.05
    assert end.on_real == pytest.approx(0.5, abs=0.05)
    assert end.on_generated == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", range(2))
def test_the_early_decision_has_the_shape_of_the_best_answer_there_is(seed: int) -> None:
    """Against a fixed generator that is real / (real + generated): proposition 1 of Goodfellow et
    al. (2014)."""
    moment, real = trained(seed)[15], demo.real_density(demo.GRID)
    both = real + moment.density
    alike = torch.corrcoef(torch.stack([moment.decision, real / both])[:, both > 0.05])[0, 1]
    assert alike > 0.5


def test_moments_hold_true_densities_and_chances() -> None:
    moment = demo.train_1d(0, 30, at={30})[30]
    width = (demo.GRID[1] - demo.GRID[0]).item()
    assert moment.step == 30
    assert moment.density.sum().item() * width == pytest.approx(1, abs=0.01)
    assert (demo.real_density(demo.GRID).sum() * width).item() == pytest.approx(1, abs=0.01)
    assert moment.decision.min() >= 0
    assert moment.decision.max() <= 1
    assert len(moment.density) == len(moment.decision) == len(demo.GRID)


def test_one_seed_gives_one_history_and_another_seed_another() -> None:
    first, again, other = (demo.train_1d(seed, 40, at={0, 40}) for seed in (3, 3, 4))
    for step in (0, 40):
        assert torch.equal(first[step].generated, again[step].generated)
        assert torch.equal(first[step].decision, again[step].decision)
        assert not torch.equal(first[step].generated, other[step].generated)


@pytest.mark.parametrize("seed", range(5))
def test_the_lines_from_noise_to_value_start_without_crossing(seed: int) -> None:
    start = demo.train_1d(seed, 1, at={0})[0].generated
    assert start[-1] > start[0]


def test_looking_does_not_change_the_training() -> None:
    often = demo.train_1d(0, 20, at=set(range(21)))
    once = demo.train_1d(0, 20, at={20})
    assert set(often) == set(range(21))
    assert torch.equal(often[20].generated, once[20].generated)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    demo.train_1d(5, 3, at={3})
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def three_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MAX_FRAMES", 3)


@pytest.mark.usefixtures("three_frames")
def test_both_pictures_are_written_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    kept: list[bytes] = []
    for name in ("a", "b/new/folder"):
        png, gif = demo.demo_1d(tmp_path / name, seed=2, steps=20)
        assert (png, gif) == (tmp_path / name / "demo-1d.png", tmp_path / name / "demo-1d.gif")
        assert sorted(png.parent.iterdir()) == [gif, png]  # nothing half-written is left behind
        kept += [png.read_bytes(), gif.read_bytes()]
    assert kept[:2] == kept[2:]
    with Image.open(tmp_path / "a/demo-1d.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1200  # three panels beside each other


@pytest.mark.parametrize(("steps", "most", "frames"), [(30, 4, 4), (2, 40, 3)])
def test_the_gif_has_its_frames_loops_and_rests_on_the_last(
    tmp_path: Path, steps: int, most: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "MAX_FRAMES", most)
    _, gif = demo.demo_1d(tmp_path, steps=steps)
    with Image.open(gif) as film:
        assert film.format == "GIF"
        assert getattr(film, "n_frames", 1) == frames
        assert film.info["loop"] == 0
        film.seek(frames - 1)
        assert film.info["duration"] == 2500


@pytest.mark.parametrize("steps", [1, 7, *range(36, 80), 100, 1500])
def test_frames_rise_from_the_first_step_to_the_last_without_repeats(steps: int) -> None:
    at = demo._frame_steps(steps)
    assert len(at) == len(set(at)) == min(40, steps + 1)
    assert at == sorted(at)
    assert (at[0], at[-1]) == (0, steps)


def panels(fractions: tuple[float, ...]) -> Figure:
    history = demo.train_1d(0, 20, at={round(20 * fraction) for fraction in fractions})
    return demo._figure(list(history.values()))


def test_each_panel_names_its_step_on_the_same_axes_and_the_legend_appears_once() -> None:
    figure = panels((0.0, 0.25, 0.5, 0.75, 1.0))
    tops, strips = figure.axes[::2], figure.axes[1::2]
    assert [axes.get_title(loc="left") for axes in tops] == [
        "step 0",
        "step 5",
        "step 10",
        "step 15",
        "step 20",
    ]
    assert all("mean D: 0." in axes.get_title(loc="right") for axes in tops)
    assert {(axes.get_xlim(), axes.get_ylim()) for axes in tops} == {
        ((-demo.AXIS_SPAN, demo.AXIS_SPAN), (0.0, demo.TOP))
    }
    assert {axes.get_xlim() for axes in strips} == {(-demo.AXIS_SPAN, demo.AXIS_SPAN)}
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    assert not any(axes.get_legend() for axes in figure.axes)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_no_words_are_cut_off_or_run_into_each_other(count: int) -> None:
    figure = panels(tuple(i / 5 for i in range(count)))
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    titles = [
        text
        for axes in figure.axes
        for text in [*axes.texts, axes.title, axes._left_title, axes._right_title]
    ]
    words = [
        text for text in [*figure.texts, *figure.legends[0].get_texts(), *titles] if text.get_text()
    ]
    boxes = [text.get_window_extent() for text in words]
    assert len(boxes) >= 2 + 3 + 4 * count
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:i]), words[i].get_text()


def test_a_peak_too_high_for_the_axis_is_marked_with_its_height() -> None:
    figure = panels((0.0,))
    peak = demo.train_1d(0, 1, at={0})[0].density.max().item()
    assert peak > demo.TOP
    assert f"peak {peak:.1f}" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"steps": 0}, "--steps 0: expected more than 0"),
        ({"steps": -3}, "--steps -3"),
        ({"seed": -1}, "--seed -1: expected a whole number"),
        ({"seed": 2**63}, "--seed 9"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line_before_anything_is_made(
    tmp_path: Path, bad: dict[str, int], named: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingError, match=named) as caught:
        demo.demo_1d(out, **bad)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_a_folder_that_cannot_be_made_is_told_in_one_line_before_training(
    tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # training first would fail otherwise than asked for
    monkeypatch.setattr(demo, "train_1d", None)
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(RunError, match="taken") as caught:
        demo.demo_1d(tmp_path / "taken" / inside)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, GanvasError)
    assert (tmp_path / "taken").read_text() == "a file, not a folder"


def test_a_pictures_name_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    for name in ("demo.png", "demo.GIF", "demo.jpg"):
        with pytest.raises(SettingError, match="expected a folder"):
            demo.demo_1d(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("three_frames")
def test_a_picture_that_cannot_be_put_in_place_is_told_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / "demo-1d.png").mkdir()
    with pytest.raises(RunError, match=r"demo-1d\.png") as caught:
        demo.demo_1d(tmp_path, steps=2)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["demo-1d.png"]
