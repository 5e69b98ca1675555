"""A run's sheets as one GIF that shows the training in seconds."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ganvas.errors import RunError, SettingError
from ganvas.runs.run import Run
from ganvas.system import files

MAX_GIF_BYTES = 5_000_000
MAX_GIF_SIDE = 720  # pixels; larger sheets are made smaller
MIN_GIF_SIDE = 120  # below which the film gets fewer pictures instead
PER_SECOND = 10  # pictures, at most
MAX_SECONDS = 60.0  # seconds
COLOURS, GREYS = 128, 32  # that a film has: the fewer, the smaller
LAST = 0.25  # the part of the film in which the last picture stands
_BAR, _LINE = 4, 24  # pixels


def write_gif(run: Run, out: Path, seconds: float = 8.0) -> Path:
    """Write a GIF of the run's sheets, `seconds` long, below MOST_BYTES, each picture with the
    images seen until then.

    Of more than PER_SECOND a second, some are left out, evenly; the first and the last are always
    there.
    Raises SettingError for another ending or length, RunError where the run has no sheets, where
    they cannot be read or differ in size, or the disk refuses.
    """
    files.refuse_ending(out, "the time-lapse is a GIF", ".gif")
    if not 0.5 <= seconds <= MAX_SECONDS:
        raise SettingError(f"--seconds {seconds:g}: expected 0.5 to {MAX_SECONDS:g}")
    sheets = run.sheets()
    if not sheets:
        raise RunError(
            f"{run.path} has no sheets in samples/ yet: train on, or set train.sheet to have them"
            " more often"
        )
    _check_sizes(sheets)
    count, side = min(len(sheets), max(2, int(seconds * (1 - LAST) * PER_SECOND) + 1)), MAX_GIF_SIDE
    while True:
        film = _film(spread(sheets, count), run.card.plan.total, side, seconds)
        if len(film) <= MAX_GIF_BYTES:
            files.write(out, film)
            return out
        shrink = 0.95 * (MAX_GIF_BYTES / len(film)) ** 0.5
        if side > MIN_GIF_SIDE:
            side = max(MIN_GIF_SIDE, int(side * shrink))
        else:
            count = max(1, int(count * shrink))


def _check_sizes(sheets: list[tuple[int, Path]]) -> None:
    sizes = [open_sheet(path).size for _, path in sheets]
    for (_, path), size in zip(sheets, sizes, strict=True):
        if size != sizes[-1]:
            raise RunError(
                f"{path} is {size[0]}x{size[1]} pixels and {sheets[-1][1].name}"
                f" {sizes[-1][0]}x{sizes[-1][1]}: the pictures of a film are of one size; move the"
                " others elsewhere"
            )


def open_sheet(path: Path, *, load: bool = False) -> Image.Image:
    """A sheet, its header read or, with `load`, all of it."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if load:
                image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(
            f"{path} is damaged or no PNG ({' '.join(str(error).split())[:100]}): move it elsewhere"
        ) from None


def spread(sheets: list[tuple[int, Path]], count: int) -> list[tuple[int, Path]]:
    """`count` of the sheets, evenly, with the first and the last; of one, the last."""
    if count == 1:
        return sheets[-1:]
    return [sheets[k * (len(sheets) - 1) // (count - 1)] for k in range(count)]


def _film(sheets: list[tuple[int, Path]], total: int, side: int, seconds: float) -> bytes:
    """The GIF's bytes."""
    frames = [_frame(open_sheet(path, load=True), images, total, side) for images, path in sheets]
    if any(frame.mode == "RGB" for frame in frames):
        palette = _palette(frames)
        frames = [
            frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
            for frame in frames
        ]
    else:
        frames = [
            frame.point([v * GREYS // 256 * 255 // (GREYS - 1) for v in range(256)])
            for frame in frames
        ]
    # milliseconds, in GIF's hundredths
    each = round(100 * seconds * (1 - LAST) / max(1, len(frames) - 1)) * 10
    hold = [each] * (len(frames) - 1)
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[*hold, round(100 * seconds) * 10 - sum(hold)],
        loop=0,
    )
    return buffer.getvalue()


def opaque(sheet: Image.Image) -> Image.Image:
    """The same, grey or RGB, on white where it is transparent."""
    if sheet.mode == "RGBA":
        white = Image.new("RGBA", sheet.size, (255, 255, 255, 255))
        sheet = Image.alpha_composite(white, sheet)
    return sheet.convert("L" if sheet.mode in ("L", "1") else "RGB")


def _frame(sheet: Image.Image, images: int, total: int, side: int) -> Image.Image:
    """A sheet, grey or RGB and at most `side` pixels long, under its caption and a bar of the
    training that is done."""
    sheet = opaque(sheet)
    sheet.thumbnail((side, side), Image.Resampling.LANCZOS)
    font, text = ImageFont.load_default(16), f"{images:,} images"
    # as wide in each frame
    width = max(sheet.width, round(font.getlength(f"{total:,} images")) + 2 * _BAR)
    frame = Image.new(sheet.mode, (width, sheet.height + _LINE + 2 * _BAR), "white")
    frame.paste(sheet, ((width - sheet.width) // 2, _LINE + 2 * _BAR))
    draw = ImageDraw.Draw(frame)
    draw.text((_BAR, 2), text, "black", font)
    done = round(width * min(1.0, images / total))
    draw.rectangle((0, _LINE, width - 1, _LINE + _BAR - 1), "lightgrey")
    if done:
        draw.rectangle((0, _LINE, done - 1, _LINE + _BAR - 1), "black")
    return frame


def _palette(frames: list[Image.Image]) -> Image.Image:
    """COLOURS for all frames: of up to 16 of them, beside each other."""
    some = frames[:: max(1, len(frames) // 16)] + frames[-1:]
    strip = Image.new("RGB", (some[0].width * len(some), some[0].height))
    for k, frame in enumerate(some):
        strip.paste(frame, (k * frame.width, 0))
    return strip.quantize(COLOURS, dither=Image.Dither.NONE)
