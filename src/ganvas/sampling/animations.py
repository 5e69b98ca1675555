"""Animations: frames as .gif, .webp or .mp4."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ganvas.errors import MissingExtraError, RunError
from ganvas.sampling import sheets

if TYPE_CHECKING:
    from ganvas.data.pixels import Pixels

ANIMATIONS = (".gif", ".webp", ".mp4")
FRAMES_A_SECOND = 12
MAX_VIDEO_SIDE = 16_384  # pixels, of H.264


def require(kind: str) -> None:
    """Raises MissingExtraError if files of this ending need a package that is not installed."""
    if kind == ".mp4":
        try:
            import av
        except ModuleNotFoundError:
            raise MissingExtraError("an .mp4 needs PyAV: pip install 'ganvas[video]'") from None
        assert av is not None


def encode(frames: Iterable[Pixels], kind: str) -> bytes:
    """Encode frames, each uint8 (H, W, C), as an animation that starts anew at its end.

    kind: an ending of ANIMATIONS. An .mp4 is made with PyAV; transparent frames are laid on white.
    Raises RunError for frames too large for a video.
    """
    if kind == ".mp4":
        return _video(frames)
    first, *rest = (sheets.picture(frame) for frame in frames)
    buffer, lasts = io.BytesIO(), round(1000 / FRAMES_A_SECOND)
    if kind == ".gif":
        # A frame replaces the one before, of which transparent parts would remain.
        first.save(
            buffer, "GIF", save_all=True, append_images=rest, duration=lasts, loop=0, disposal=2
        )
    else:
        first.save(
            buffer, "WEBP", save_all=True, append_images=rest, duration=lasts, loop=0, lossless=True
        )
    return buffer.getvalue()


def _video(frames: Iterable[Pixels]) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
        for number, frame in enumerate(frames):
            pixels = _even(frame)
            if number == 0:
                stream.height, stream.width = height, width = pixels.shape[:2]
                if max(height, width) > MAX_VIDEO_SIDE:
                    large = f"a video of {width}x{height} pixels is too large for H.264"
                    raise RunError(f"{large}: give a smaller --scale")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _even(frame: Pixels) -> Pixels:
    """Return a frame as RGB with even sides, as videos need: a white row or column is added."""
    image = sheets.picture(frame).convert("RGBA")
    paper = Image.new(
        "RGBA", (image.width + image.width % 2, image.height + image.height % 2), "white"
    )
    paper.alpha_composite(image)
    return np.asarray(paper.convert("RGB"))
