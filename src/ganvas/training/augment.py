"""Augmentation of all images that D sees, for small data sets, with an adaptive probability.

Where images are few, D memorises them. So real images and fakes alike are moved, recoloured or
partly covered before D sees them, and G is trained through that (DiffAugment: Zhao et al. 2020,
arXiv 2006.10738). Each augmentation is applied with probability p, image by image. While p stays
below about 0.8, plain images remain frequent enough for G to find that they are the ones to make:
augmentations do not leak into samples (ADA: Karras et al. 2020, arXiv 2006.06676). So MAX_AUGMENT
is 0.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ganvas.recipe import AUGMENT_BELOW, MAX_AUGMENT

Kinds = tuple[Literal["translation", "colour", "cutout"], ...]  # of augmentations

MIN_TO_HOLD_OUT = 100  # smaller data sets hold no images out
TARGET = 0.6  # how far D may memorise, as in the paper
MAX_RAMP = 500_000.0  # images in which p climbs from 0 to 1 at the slowest, as in the paper
ADAPT_STEPS = 16  # steps between two updates of p: so judging held-out images costs little


class AugmentParams(NamedTuple):
    """The augmentations of each image of a batch; None for a kind that is applied to no image.

    shift: int64 (N, 2), pixels down and to the right; (0, 0) leaves an image as it is.
    colour: float32 (N, 3), brightness to add, factors of saturation and of contrast; (0, 1, 1)
        leaves an image as it is.
    cutout: int64 (N, 2), row and column of the middle of the box that is cut out; (-H, -W), which
        is outside, leaves an image as it is.
    """

    shift: Tensor | None = None
    colour: Tensor | None = None
    cutout: Tensor | None = None

    @property
    def none(self) -> bool:
        """True if no image is augmented."""
        return self.shift is None and self.colour is None and self.cutout is None

    def each(self, change: Callable[[Tensor], Tensor]) -> AugmentParams:
        """Apply `change` to every tensor, such as `world.shard` or a move to another device."""
        return AugmentParams(*(None if t is None else change(t) for t in self))


PLAIN = AugmentParams()  # no augmentation


def sample_params(
    rng: torch.Generator, count: int, kinds: Kinds, size: tuple[int, int], p: float
) -> AugmentParams:
    """Draw the augmentations of `count` images, each kind with probability p, on the CPU.

    The ranges are those of the paper's code. translation: up to an eighth of a side, at least one
    pixel. colour: brightness -0.5 to 0.5 on the scale of [-1, 1], saturation 0 to 2, contrast 0.5
    to 1.5. cutout: a box of half of each side around any pixel.

    rng: draws the same numbers whatever `kinds` and `p` are: with a larger p, the same images are
        augmented in the same way, and others, too.
    count: images.
    kinds: of augmentations to apply.
    size: of the images, (H, W).
    p: probability of each kind, for each image.
    """
    if p == 0:
        return PLAIN
    u = torch.rand((count, 10), generator=rng)
    sides = torch.tensor(size)
    moved, coloured, covered = (u[:, :3] < p).unsqueeze(2).unbind(1)
    shift = colour = cutout = None
    if "translation" in kinds:
        reach = torch.minimum((sides // 8).clamp(min=1), sides - 1)
        shift = ((u[:, 3:5] * (2 * reach + 1)).long() - reach) * moved
    if "colour" in kinds:
        drawn = u[:, 5:8] * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([-0.5, 0.0, 0.5])
        colour = torch.where(coloured, drawn, torch.tensor([0.0, 1, 1]))
    if "cutout" in kinds:
        places = sides + 1 - sides // 2 % 2  # a box of even sides has its middle between pixels
        cutout = torch.where(covered, (u[:, 8:] * places).long(), -sides)
    return AugmentParams(shift, colour, cutout)


def apply(images: Tensor, changes: AugmentParams) -> Tensor:
    """Augment images float (N, C, H, W), C 1, 3 or 4: same shape, dtype and memory layout.

    An image that is not augmented keeps its values exactly. Values may leave [-1, 1], as in the
    paper: clipped there, they would have no gradient. The result is an affine function of the
    images, differentiable any number of times.
    """
    if changes.none:
        return images
    kinds = (_coloured, changes.colour), (_translated, changes.shift), (_cut_out, changes.cutout)
    augmented = images
    for apply_kind, change in kinds:
        if change is not None:
            augmented = apply_kind(augmented, change)
    return _laid_out(augmented, images)


def backward(gradient: Tensor, changes: AugmentParams) -> Tensor:
    """Pull the gradient of augmented images (N, C, H, W) back to the images before augmentation.

    It needs no images, since the former are an affine function of the latter.
    """
    if changes.none:
        return gradient
    with torch.enable_grad():
        images = torch.zeros_like(gradient, requires_grad=True)
        (by_images,) = torch.autograd.grad(apply(images, changes), images, gradient)
    return _laid_out(by_images, gradient)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor in the memory layout of another: channels_last or contiguous."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _coloured(images: Tensor, colour: Tensor) -> Tensor:
    """Change brightness, saturation and contrast, in this order; an alpha channel stays."""
    if images.shape[1] == 4:
        return torch.cat([_coloured(images[:, :3], colour), images[:, 3:]], 1)
    brightness, saturation, contrast = colour.to(images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    # Neither saturation nor contrast changes an image's mean.
    ground = (1 - contrast) * images.mean((1, 2, 3), keepdim=True) + brightness
    if images.shape[1] == 1:
        return images * contrast + ground
    grey = images.mean(1, keepdim=True)
    return images * (contrast * saturation) + (grey * (contrast * (1 - saturation)) + ground)


def _translated(images: Tensor, shift: Tensor) -> Tensor:
    """Move images by whole pixels; the edge's pixels are repeated where images move away from it.

    The paper's code fills in zeros, which in [-1, 1] are grey: no digit has a grey margin. With the
    edge repeated, black ground stays black, white paper white, and a transparent margin
    transparent.
    """
    count, channels, height, width = images.shape
    down, right = shift.split(1, 1)
    # The source of each row, (N, H), of each column, (N, W), and of each value, (N, H, W, C).
    rows = (torch.arange(height, device=shift.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=shift.device) - right).clamp(0, width - 1)
    pixels = (rows * width).unsqueeze(2) + columns.unsqueeze(1)
    values = pixels.unsqueeze(3) * channels + torch.arange(channels, device=shift.device)
    # One gather over the flat memory of channels_last images, forward and back, takes a third to
    # two thirds of the time of indexing by rows and columns, of two gathers, or of products with
    # matrices of zeros and ones.
    flat = images.permute(0, 2, 3, 1).reshape(count, height * width * channels)
    return flat.gather(1, values.view(flat.shape)).view(values.shape).permute(0, 3, 1, 2)


def _cut_out(images: Tensor, middle: Tensor) -> Tensor:
    """Set a box of half of each side to 0, the middle of the range, in all channels."""
    row, column = middle.split(1, 1)
    rows, columns = _half(row, images.shape[2]), _half(column, images.shape[3])
    kept = ~(rows.unsqueeze(2) & columns.unsqueeze(1))
    return images * kept.unsqueeze(1).to(images.dtype)  # masked_fill would lose channels_last


def _half(middle: Tensor, side: int) -> Tensor:
    """Bool (N, side): True for the half of a side's pixels that lies around the middle (N, 1)."""
    place = torch.arange(side, device=middle.device) - middle + side // 4
    return (place >= 0) & (place < side // 2)


def kinds_for(images: Tensor) -> Kinds:
    """The augmentations that suit a data set of images uint8 (N, C, H, W).

    Grey figures on a plain ground (digits, letters, glyphs) get translation alone: half a digit is
    another digit, and their grey carries no meaning. All others get translation, colour (for grey
    photographs brightness and contrast) and cutout. Images are never flipped: a mirrored letter is
    no letter.
    """
    if images.shape[1] == 1 and plain_ground(images):
        return ("translation",)
    return ("translation", "colour", "cutout")


def plain_ground(images: Tensor) -> bool:
    """True if nine in ten edge pixels of images uint8 (N, 1, H, W) have the same grey, within 16
    levels: so it is in drawings, and not in photographs. A thousand images are looked at."""
    some = images[:: -(-len(images) // 1000)]
    edges = torch.cat([some[..., 0, :], some[..., -1, :], some[..., 0], some[..., -1]], -1)
    edges = edges.flatten().long()
    ground = torch.bincount(edges, minlength=256).argmax()
    return bool(((edges - ground).abs() <= 16).double().mean() >= 0.9)


def held_out_count(number: int) -> int:
    """The number of images to hold out of a data set of `number` images: 1 in 10, at most 256.

    D's logits of these are compared with those of the images that it is trained on. 0 from
    AUGMENT_BELOW images on: within the trainings that a few cores allow, D does not memorise
    that many, p would stay at 0, and images and time would be lost. 0 below MIN_TO_HOLD_OUT,
    too: such a data set has none to give away.
    """
    return min(256, number // 10) if MIN_TO_HOLD_OUT <= number < AUGMENT_BELOW else 0


def explained(kinds: Kinds, number: int) -> str:
    """One line for the user: which augmentations a data set of `number` images gets, and why."""
    if number >= AUGMENT_BELOW:
        return f"no augmentation: {number:,} images, {AUGMENT_BELOW:,} or more are enough without"
    alone = " alone (grey figures on a plain ground)" if len(kinds) == 1 else ""
    few = f"as there are {number:,} images, fewer than {AUGMENT_BELOW:,}"
    rule = f"augmentation: {', '.join(kinds)}{alone}, {few}; the probability"
    if count := held_out_count(number):
        return f"{rule} adapts itself, and {count} images are held out for that"
    return f"{rule} climbs to {MAX_AUGMENT:g}: of under {MIN_TO_HOLD_OUT} images none are held out"


def memorised_share(known: Tensor, held_out: Tensor) -> Tensor:
    """Measure how far D has memorised its training images: the mean sign of D(x) - D(y) over all
    pairs of a training image x and a held-out image y.

    known, held_out: logits (N,) and (M,) of the same D before the same update (a relativistic D's
        logits drift from step to step), of images augmented with the same p.
    Returns a tensor of no dimensions: 0 if D cannot tell them apart, 1 if it knows every training
    image. It is invariant under increasing functions of the logits.

    It is the paper's r_t = E[sign D(x)], with the held-out images in place of the constant 0.
    Relativistic logits have no zero (r_t was 1.00 with 200 digits and with 50,000), and in
    trainings this short those of the hinge loss hardly have one (-0.2 to 1). E[sign(D(x) -
    D(G(z)))] is as high while G is bad (0.92 and 0.91) as when D has memorised. This measure was
    0.05 at first and 0.5 later with 200 digits, and stayed at 0.04 with 2,000. The paper's r_v
    compares the same images by their mean logits, divided by a difference that may be 0.
    """
    return (known.unsqueeze(1) - held_out).sign().mean()


def ramp_images(total: int) -> float:
    """The images in which p climbs from 0 to 1 at the fastest, in a training of `total` images: a
    quarter of them, at most the paper's 500,000."""
    return min(MAX_RAMP, total / 4)


class Controller:
    """Raises p while D has memorised more than TARGET, lowers it while it has memorised less
    (Karras et al. 2020, section 3).

    ramp: images in which p climbs from 0 to 1.
    p: the probability, from 0 to MAX_AUGMENT; it starts at 0 and is all the state.
    """

    def __init__(self, ramp: float) -> None:
        self.ramp, self.p = ramp, 0.0

    def update(self, share: float, images: int) -> float:
        """Return the new p, `images` images after the last update.

        share: `memorised_share`, averaged over the processes; 1.0 for a data set that is too small
            to hold images out: a few dozen are memorised in any case. NaN leaves p as it is.
        """
        direction = (share > TARGET) - (share < TARGET)
        self.p = min(MAX_AUGMENT, max(0.0, self.p + direction * images / self.ramp))
        return self.p

    def state_dict(self) -> dict[str, float]:
        return {"p": self.p}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Load a state. Raises ValueError unless p is in its range."""
        p = state["p"]
        if not isinstance(p, float) or not 0 <= p <= MAX_AUGMENT:
            raise ValueError(f"p is {p}, expected 0 to {MAX_AUGMENT:g}")
        self.p = p
