"""`ganvas timelapse`: the sheets of a run as a GIF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganvas.errors import RunError
from ganvas.runs.run import Run
from ganvas.views import timelapse
from helpers.common import train


def frames(path: Path) -> tuple[list[Image.Image], list[int]]:
    """Return a GIF's frames, RGB, and the milliseconds that each stands."""
    with Image.open(path) as film:
        found = []
        for k in range(film.n_frames):
            film.seek(k)
            found.append((film.convert("RGB"), int(film.info["duration"])))
    return [frame for frame, _ in found], [hold for _, hold in found]


def put_sheets(run: Path, pictures: dict[str, np.ndarray[Any, Any]]) -> None:
    for path in (run / "samples").iterdir():
        path.unlink()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(run / "samples" / f"{name}.png")


def flat(
    value: int | tuple[int, int, int], size: tuple[int, int] = (150, 200)
) -> np.ndarray[Any, Any]:
    return np.full((*size, *((3,) if isinstance(value, tuple) else ())), value, np.uint8)


def test_sheets_come_in_order_for_the_time_asked_and_the_last_stays(
    tiny_run: Run, cli_run: Callable[..., Any], copy: Callable[[Run], Path]
) -> None:
    run = copy(tiny_run)
    put_sheets(
        run,
        {
            f"{images:09d}": flat(value)
            for images, value in ((1000, 250), (32, 0), (160, 100), (9, 50))
        },
    )
    done = cli_run("timelapse", run, "--seconds", "4")
    assert (done.code, done.out) == (0, "timelapse.gif\n")
    film, hold = frames(Path("timelapse.gif"))
    middles = [frame.getpixel((100, 120)) for frame in film]
    assert np.allclose([middle[0] for middle in middles], [50, 0, 100, 250], atol=8)
    assert hold == [1000, 1000, 1000, 1000]
    cli_run("timelapse", run, "--seconds", "1.5", "--out", "deep/short.gif")
    assert sum(frames(Path("deep/short.gif"))[1]) == 1500
    assert len({frame.size for frame in film}) == 1


def test_a_real_run_and_its_bar(tiny_run: Run, tmp_path: Path) -> None:
    film, hold = frames(timelapse.write_gif(tiny_run, tmp_path / "film.gif"))
    assert len(film) == len(tiny_run.sheets()) == 2
    bars = [np.asarray(frame.convert("L"))[timelapse._LINE + 1] for frame in film]
    done = [float((bar < 50).mean()) for bar in bars]
    assert done == pytest.approx([images / 320 for images, _ in tiny_run.sheets()], abs=0.01)
    assert (sum(hold), film[-1].size[0]) == (8000, film[0].size[0])


def test_sheets_named_by_epochs_have_the_moments_of_the_state(
    pictures: Path, tmp_path: Path
) -> None:
    settings = {"sheet": "1 epoch", "sheet_name": "e{epoch}"}
    run = train("mlp/tiny", tmp_path / "run", data=str(pictures), images=160.0, settings=settings)
    names = [path.name for _, path in run.sheets()]
    assert names == sorted(names, key=lambda name: int(name[1:-4]))
    assert [images for images, _ in run.sheets()][:2] == [16, 32]
    (run.path / "state.pt").unlink()  # then the names tell
    assert [images for images, _ in run.sheets()][:2] == [12, 24]


def test_of_many_sheets_some_are_left_out_but_not_the_ends(
    tiny_run: Run, copy: Callable[[Run], Path]
) -> None:
    run = copy(tiny_run)
    put_sheets(run, {f"{k:09d}": flat(k, (8, 8)) for k in range(256)})
    film, hold = frames(timelapse.write_gif(Run.open(run), run.parent / "film.gif", 2.0))
    assert len(film) == 16
    assert hold[-1] == sum(hold[:-1]) / 3 == 500
    middles = [frame.getpixel((frame.width // 2, timelapse._LINE + 12))[0] for frame in film]
    assert middles == sorted(middles)
    assert (middles[0], middles[-1]) == (0, 255)


@pytest.mark.parametrize("shape", [(600, 400), (600, 400, 3)])
def test_the_file_stays_small_whatever_is_on_the_sheets(
    tiny_run: Run,
    copy: Callable[[Run], Path],
    shape: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noise does not compress."""
    monkeypatch.setattr(timelapse, "MAX_GIF_BYTES", 100_000)
    run, rng = copy(tiny_run), np.random.default_rng(0)
    put_sheets(run, {f"{k:09d}": rng.integers(0, 256, shape, np.uint8) for k in range(6)})
    path = timelapse.write_gif(Run.open(run), run.parent / "film.gif")
    assert 30_000 < path.stat().st_size <= 100_000
    film, hold = frames(path)
    assert (film[0].height, sum(hold)) > (timelapse.MIN_GIF_SIDE, 7990)


def test_the_limit_is_what_a_mail_takes() -> None:
    assert timelapse.MAX_GIF_BYTES <= 5_000_000


def test_colours_stay(tiny_run: Run, copy: Callable[[Run], Path]) -> None:
    run, colours = copy(tiny_run), [(200, 30, 30), (20, 160, 220), (250, 240, 20)]
    put_sheets(run, {f"{k:09d}": flat(colour) for k, colour in enumerate(colours)})
    film, _ = frames(timelapse.write_gif(Run.open(run), run.parent / "film.gif"))
    assert np.allclose([frame.getpixel((100, 120)) for frame in film], colours, atol=6)


def test_transparent_sheets_are_on_white(tiny_run: Run, copy: Callable[[Run], Path]) -> None:
    run = copy(tiny_run)
    put_sheets(run, {"000000001": np.zeros((150, 200, 4), np.uint8)})
    film, _ = frames(timelapse.write_gif(Run.open(run), run.parent / "film.gif"))
    assert min(film[0].getpixel((100, 120))) > 245
    assert len(film) == 1


class TestBadInput:
    def test_no_sheets(
        self, tiny_run: Run, cli_run: Callable[..., Any], copy: Callable[[Run], Path]
    ) -> None:
        put_sheets(copy(tiny_run), {})
        assert "run has no sheets" in cli_run("timelapse", "run").error
        assert not Path("timelapse.gif").exists()

    @pytest.mark.parametrize(
        ("name", "content", "answer"),
        [
            ("000000100.png", flat(3, (20, 30)), "000000100.png is 30x20 pixels and"),
            ("000000100.png", b"text", "000000100.png is damaged or not a PNG"),
            ("mine.png", flat(3), "mine.png is no sheet of this run"),
        ],
    )
    def test_a_file_that_is_not_a_sheet_is_named(
        self,
        tiny_run: Run,
        cli_run: Callable[..., Any],
        copy: Callable[[Run], Path],
        name: str,
        content: Any,
        answer: str,
    ) -> None:
        path = copy(tiny_run) / "samples" / name
        (
            path.write_bytes(content)
            if isinstance(content, bytes)
            else Image.fromarray(content).save(path)
        )
        assert answer in cli_run("timelapse", "run").error
        assert not Path("timelapse.gif").exists()

    @pytest.mark.parametrize(
        ("options", "answer"),
        [
            (("--out", "film.mp4"), "--out film.mp4: the time-lapse is a GIF"),
            (("--seconds", "0"), "--seconds 0.0: expected more than 0"),
            (("--seconds", "nan"), "--seconds nan: expected more than 0"),
            (("--seconds", "1000"), "--seconds 1000: expected 0.5 to 60"),
        ],
    )
    def test_options(
        self, tiny_run: Run, cli_run: Callable[..., Any], options: tuple[str, ...], answer: str
    ) -> None:
        assert answer in cli_run("timelapse", tiny_run.path, *options).error

    def test_not_a_run(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        assert "no run elsewhere" in cli_run("timelapse", "elsewhere").error
        assert "is not a run" in cli_run("timelapse", tmp_path).error

    def test_a_truncated_sheet(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        run = copy(tiny_run)
        path = max((run / "samples").iterdir())
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(RunError, match="is damaged or not a PNG"):
            timelapse.write_gif(Run.open(run), run.parent / "film.gif")
