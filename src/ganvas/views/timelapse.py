"""`ganvas timelapse`: a run's sheets as a GIF that shows the training in seconds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ganvas.errors import RunError, SettingError
from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.system.marks import GIF_COMMENT

MAX_GIF_BYTES = 5_000_000
MAX_GIF_SIDE = 720  # pixels; larger sheets are reduced
MIN_GIF_SIDE = 120  # pixels; below it, sheets are left out instead
PER_SECOND = 10  # pictures at most
MAX_SECONDS = 60.0
COLOURS, GREYS = 128, 32  # of the palette: the fewer, the smaller the file
LAST = 0.25  # share of the film in which the last picture stands
_BAR, _LINE = 4, 24  # pixels: height of the bar and of the caption


def write_gif(run: Run, out: Path, seconds: float = 8.0) -> Path:
    """Write a GIF of a run's sheets, below MAX_GIF_BYTES, and return its path.

    Each picture shows the images seen until then. With more than PER_SECOND a second some are left
    out evenly, but never the first and the last.

    out: path ending in .gif.
    seconds: length of the film, 0.5 to MAX_SECONDS.

    Raises SettingError for another ending or length, RunError if the run has no sheets, they cannot
    be read or differ in size, or the disk refuses.
    """
    files.refuse_ending(out, "the time-lapse is a GIF", ".gif")
    if not 0.5 <= seconds <= MAX_SECONDS:
        raise SettingError(f"--seconds {seconds:g}: expected 0.5 to {MAX_SECONDS:g}")
    sheets = run.sheets()
    if not sheets:
        raise RunError(f"{run.path} has no sheets yet: train on, or shorten train.sheet")
    sizes = {open_sheet(path).size: path for _, path in sheets}
    if len(sizes) > 1:
        each = " and ".join(f"{path} is {w}x{h} pixels" for (w, h), path in sizes.items())
        raise RunError(f"{each}: a film needs sheets of one size; move the others elsewhere")
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


def open_sheet(path: Path, *, load: bool = False) -> Image.Image:
    """Open a sheet; with `load`, also read its pixels. Raises RunError if it is damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if load:
                image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RunError(f"{path} is damaged or not a PNG ({reason}): move it elsewhere") from None


def spread(sheets: list[tuple[int, Path]], count: int) -> list[tuple[int, Path]]:
    """Choose `count` sheets, or all if there are fewer, evenly spaced from the first to the last;
    the last if `count` is 1."""
    count = min(count, len(sheets))
    if count == 1:
        return sheets[-1:]
    return [sheets[k * (len(sheets) - 1) // (count - 1)] for k in range(count)]


def _film(sheets: list[tuple[int, Path]], total: int, side: int, seconds: float) -> bytes:
    """Encode the GIF. total: images of the whole training. side: pixels."""
    frames = [_frame(open_sheet(path, load=True), images, total, side) for images, path in sheets]
    if any(frame.mode == "RGB" for frame in frames):
        colours, undithered = _palette(frames), Image.Dither.NONE
        frames = [f.convert("RGB").quantize(palette=colours, dither=undithered) for f in frames]
    else:
        levels = [v * GREYS // 256 * 255 // (GREYS - 1) for v in range(256)]
        frames = [frame.point(levels) for frame in frames]
    # milliseconds, in whole hundredths of a second as GIF has them
    each = round(100 * seconds * (1 - LAST) / max(1, len(frames) - 1)) * 10
    hold = [each] * (len(frames) - 1)
    return encode_gif(frames, [*hold, round(100 * seconds) * 10 - sum(hold)])


def encode_gif(frames: list[Image.Image], hold: list[int]) -> bytes:
    """Encode pictures as a GIF that repeats for ever. hold: milliseconds that each stays."""
    buffer, rest = io.BytesIO(), frames[1:]
    options: dict[str, Any] = {"duration": hold, "loop": 0, "comment": GIF_COMMENT}
    frames[0].save(buffer, "GIF", save_all=True, append_images=rest, **options)
    return buffer.getvalue()


def opaque(sheet: Image.Image) -> Image.Image:
    """Convert a picture to grey or RGB, on white where it is transparent."""
    if sheet.mode == "RGBA":
        white = Image.new("RGBA", sheet.size, (255, 255, 255, 255))
        sheet = Image.alpha_composite(white, sheet)
    return sheet.convert("L" if sheet.mode in ("L", "1") else "RGB")


def _frame(sheet: Image.Image, images: int, total: int, side: int) -> Image.Image:
    """Draw a sheet, reduced to `side` pixels, below its caption and a bar of the progress."""
    sheet = opaque(sheet)
    sheet.thumbnail((side, side), Image.Resampling.LANCZOS)
    font, text = ImageFont.load_default(16), f"{images:,} images"
    # the same width in each frame
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
    """Choose COLOURS for all frames, from up to 17 of them side by side."""
    some = frames[:: max(1, len(frames) // 16)] + frames[-1:]
    strip = Image.new("RGB", (some[0].width * len(some), some[0].height))
    for k, frame in enumerate(some):
        strip.paste(frame, (k * frame.width, 0))
    return strip.quantize(COLOURS, dither=Image.Dither.NONE)
