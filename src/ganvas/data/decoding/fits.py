"""Pictures brought to one size, and which way of doing so suits them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from PIL import Image

from ganvas.recipe import Fit
from ganvas.system.text import option_value

Size = tuple[int, int]

# Shares of the median picture that crop may cut off by default. Photographs, in lossy files, bear
# more: their subject is in the middle, and 3:2 to a square loses a third.
MAX_CUT, MAX_CUT_PHOTOGRAPHS = 0.15, 0.35
MIN_TOLD = 0.005  # shares cut off below this are not worth a note
_MODES: dict[int, str] = {1: "L", 3: "RGB", 4: "RGBA"}


class Fitting(NamedTuple):
    """The way in which pictures are brought to a size.

    fit: None if they have that shape.
    note: for the user; "" if there was nothing to choose.
    """

    fit: Fit | None
    note: str = ""


def cut_off(size: Size, target: Size) -> float:
    """The share of a picture's area that crop cuts off."""
    (h, w), (height, width) = size, target
    ratio = h * width / (w * height)
    return 1 - min(ratio, 1 / ratio)


def chosen_fit(sizes: Sequence[Size], target: Size, transparent: bool, photos: bool) -> Fitting:
    """Choose between crop and pad by what the pictures are.

    sizes: (H, W) of each picture.
    transparent: the pictures have transparent parts.
    photos: most are photographs.
    """
    cut = median(cut_off(size, target) for size in sizes)
    if all(h * target[1] == w * target[0] for h, w in sizes):
        return Fitting(None)
    ratio = median(h / w for h, w in sizes)
    shape = shaped(target, ratio)
    keep = "" if shape == target else f", --size {option_value(shape)} keeps the shape"
    loss = f"{cut:.0%} of the median picture"
    if cut > (MAX_CUT_PHOTOGRAPHS if photos else MAX_CUT):
        return Fitting("pad", f"padded, as crop would cut off {loss}; --fit crop crops{keep}")
    if transparent:
        return Fitting("pad", f"padded, as there is transparency; --fit crop cuts off {loss}{keep}")
    if cut < MIN_TOLD:
        return Fitting("crop")
    return Fitting("crop", f"crop cuts off {loss}; --fit pad keeps all of it{keep}")


def shaped(target: Size, ratio: float) -> Size:
    """The size of a shape, H / W, whose longer side is that of `target`, in multiples of 8."""
    longer = max(target)
    step = 8 if longer >= 16 else 1
    shorter = max(step, round(longer * min(ratio, 1 / ratio) / step) * step)
    return (longer, shorter) if ratio > 1 else (shorter, longer)


def fitted(image: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """Bring a picture to `size` (H, W) with an antialiasing Lanczos filter and premultiplied alpha.

    crop: the largest centred part of the right aspect ratio.
    pad: the whole picture, centred on white, which is transparent if the picture has alpha.
    stretch: the whole picture, its aspect ratio changed.
    """
    (height, width), (w, h) = size, image.size
    if (h, w) == size:
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if fit == "crop":
        scale = min(w / width, h / height)
        across, down = min(width * scale, w), min(height * scale, h)
        # whole pixels keep a crop without resizing sharp
        left, top = (w - across) // 2, (h - down) // 2
        box = (left, top, left + across, top + down)
        return image.resize((width, height), Image.Resampling.LANCZOS, box)
    scale = max(w / width, h / height)
    across, down = (max(1, min(width, round(w / scale))), max(1, min(height, round(h / scale))))
    inner = image.resize((across, down), Image.Resampling.LANCZOS)
    white = (255, 255, 255, 0) if image.mode == "RGBA" else "white"
    canvas = Image.new(image.mode, (width, height), white)
    canvas.paste(inner, ((width - across) // 2, (height - down) // 2))
    return canvas


def flattened(image: Image.Image, channels: int) -> Image.Image:
    """Convert L, RGB or RGBA to L (1), RGB (3) or RGBA (4), compositing lost alpha on white."""
    if image.mode == "RGBA" and channels < 4:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
