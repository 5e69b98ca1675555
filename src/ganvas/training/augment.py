"""Augmentations of all that D sees, real and fake, for small data sets: DiffAugment, with a
probability that adapts itself.

Where images are few, D learns them by heart. So that it cannot, what it is shown is moved,
recoloured or partly covered, fakes as much as real images, and G is trained through it (Zhao et al.
2020, arXiv 2006.10738). Each augmentation is made with probability p, image by image. While p stays
below 0.8 or so, plain images remain frequent enough for G to find that
they are the ones to make: augmentations do not leak into samples (Karras et al. 2020, arXiv
2006.06676). So MAX_AUGMENT is 0.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ganvas.recipe import AUGMENT_BELOW, MAX_AUGMENT

Augmentation = Literal["translation", "colour", "cutout"]

MIN_TO_HOLD_OUT = 100  # images below which none are spared to see how much D knows by heart
TARGET = 0.6  # how much D may know by heart, as in the paper
MAX_RAMP = 500_000.0  # images in which p climbs from 0 to 1 at the slowest, as in the paper
ADAPT_STEPS = 16  # steps between two updates of p: what is held out is judged at little cost


class AugmentParams(NamedTuple):
    """What is done to each image of a batch; None for what is done to none.

    shift: int64 (N, 2): pixels down and to the right; (0, 0) for an image that stays where it is.
    colour: float32 (N, 3): brightness to add, factors of saturation and contrast; (0, 1, 1) for no
    change.
    cutout: int64 (N, 2): row and column of the middle of the box that is cut out; (-H, -W),
    outside, for none.
    """

    shift: Tensor | None = None
    colour: Tensor | None = None
    cutout: Tensor | None = None

    @property
    def none(self) -> bool:
        return self.shift is None and self.colour is None and self.cutout is None

    def each(self, change: Callable[[Tensor], Tensor]) -> AugmentParams:
        """The same with `change` done to every tensor, such as `world.shard` or a move to another
        device."""
        return AugmentParams(*(None if t is None else change(t) for t in self))


PLAIN = AugmentParams()  # nothing is done to any image


def sample_params(
    rng: torch.Generator,
    count: int,
    kinds: tuple[Augmentation, ...],
    size: tuple[int, int],
    p: float,
) -> AugmentParams:
    """Draw the changes of `count` images of size (H, W): each kind with probability p, image by
    image, on the CPU.

    Shifts of up to an eighth of a side, at least one pixel; brightness -0.5 to 0.5 on the scale of
    [-1, 1], saturation 0 to 2, contrast 0.5 to 1.5; a box of half of each side around any place
    (the ranges of the paper's code). Whether an
    image is changed, and how, does not depend on the others, on `kinds`, or but for the first on p:
    with more p, those that were changed are changed in the same way, and others besides.
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
        colour = torch.where(
            coloured,
            u[:, 5:8] * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([-0.5, 0.0, 0.5]),
            torch.tensor([0.0, 1, 1]),
        )
    if "cutout" in kinds:
        places = sides + 1 - sides // 2 % 2  # a box of even sides has its middle between pixels
        cutout = torch.where(covered, (u[:, 8:] * places).long(), -sides)
    return AugmentParams(shift, colour, cutout)


def apply(images: Tensor, changes: AugmentParams) -> Tensor:
    """Images float (N, C, H, W), C 1, 3 or 4, augmented: same shape, dtype and memory layout.

    An image that is left alone keeps its values exactly. Values may leave [-1, 1], as in the paper:
    cut off there, they would have no gradient. The result is an affine function of the images, and
    differentiable as often as one likes.
    """
    if changes.none:
        return images
    augmented = images
    if changes.colour is not None:
        augmented = _coloured(augmented, changes.colour)
    if changes.shift is not None:
        augmented = _translated(augmented, changes.shift)
    if changes.cutout is not None:
        augmented = _cut_out(augmented, changes.cutout)
    return _laid_out(augmented, images)


def backward(gradient: Tensor, changes: AugmentParams) -> Tensor:
    """From the gradient by augmented images (N, C, H, W), that by the images themselves.

    It needs neither of them, since the one is an affine function of the other.
    """
    if changes.none:
        return gradient
    with torch.enable_grad():
        images = torch.zeros_like(gradient, requires_grad=True)
        (pulled,) = torch.autograd.grad(apply(images, changes), images, gradient)
    return _laid_out(pulled, gradient)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor in the memory layout of another: channels_last, where that is, or NCHW."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _coloured(images: Tensor, colour: Tensor) -> Tensor:
    """Brightness, saturation and contrast, in this order; alpha, a fourth channel, stays as it is."""
    if images.shape[1] == 4:
        return torch.cat([_coloured(images[:, :3], colour), images[:, 3:]], 1)
    brightness, saturation, contrast = colour.to(images.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    ground = (1 - contrast) * images.mean(
        (1, 2, 3), keepdim=True
    ) + brightness  # neither saturation nor contrast changes a mean
    if images.shape[1] == 1:
        return images * contrast + ground
    grey = images.mean(1, keepdim=True)
    return images * (contrast * saturation) + (grey * (contrast * (1 - saturation)) + ground)


def _translated(images: Tensor, shift: Tensor) -> Tensor:
    """Images moved by whole pixels. What comes in at an edge repeats the edge's pixels.

    The paper's code lets zeros in, which in [-1, 1] are grey: no digit has a grey margin. Repeated,
    black ground stays black, white paper white, a transparent margin transparent and a sky a sky,
    whatever the data set.
    """
    count, channels, height, width = images.shape
    down, right = shift.split(1, 1)
    # where each row comes from: (N, H)
    rows = (torch.arange(height, device=shift.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=shift.device) - right).clamp(0, width - 1)
    pixels = (rows * width).unsqueeze(2) + columns.unsqueeze(1)
    # (N, H, W, C)
    values = pixels.unsqueeze(3) * channels + torch.arange(channels, device=shift.device)
    # One gather over flat memory, which is what channels_last images are: a third to two thirds of
    # the time, there and back, of indexing by rows and columns, of two gathers, or of products with
    # matrices of zeros and ones.
    flat = images.permute(0, 2, 3, 1).reshape(count, height * width * channels)
    return flat.gather(1, values.view(flat.shape)).view(values.shape).permute(0, 3, 1, 2)


def _cut_out(images: Tensor, middle: Tensor) -> Tensor:
    """Images with a box of half their sides set to 0, the middle of the range, in all channels;
    what of it lies outside is lost."""
    row, column = middle.split(1, 1)
    rows, columns = _half(row, images.shape[2]), _half(column, images.shape[3])
    kept = ~(rows.unsqueeze(2) & columns.unsqueeze(1))
    return images * kept.unsqueeze(1).to(images.dtype)  # masked_fill would lose channels_last


def _half(middle: Tensor, side: int) -> Tensor:
    """Which pixels along a side lie in the half of it around a middle (N, 1): bool (N, side)."""
    place = torch.arange(side, device=middle.device) - middle + side // 4
    return (place >= 0) & (place < side // 2)


def kinds_for(images: Tensor) -> tuple[Augmentation, ...]:
    """The augmentations that suit a data set of images uint8 (N, C, H, W).

    Grey figures on a plain ground (digits, letters, glyphs): translation alone, since half a digit
    is another digit, and
    their grey carries nothing. All others: translation, colour (of grey photographs brightness and
    contrast) and cutout.
    Nothing is ever flipped: a mirrored letter is none.
    """
    return (
        ("translation",)
        if images.shape[1] == 1 and plain_ground(images)
        else ("translation", "colour", "cutout")
    )


def plain_ground(images: Tensor) -> bool:
    """Whether nine in ten pixels at the edges of images uint8 (N, 1, H, W) are of one grey, within
    16 levels: so they are in drawings, and not in photographs. A thousand images tell."""
    some = images[:: -(-len(images) // 1000)]
    edges = (
        torch.cat([some[..., 0, :], some[..., -1, :], some[..., 0], some[..., -1]], -1)
        .flatten()
        .long()
    )
    ground = torch.bincount(edges, minlength=256).argmax()
    return bool(((edges - ground).abs() <= 16).double().mean() >= 0.9)


def held_out_count(number: int) -> int:
    """How many of a data set's images are kept from training, to compare what D says of them with
    what it says of those it
    knows: one in ten, at most 256.

    0 from AUGMENT_BELOW images on, which need no augmentation: within the trainings that a few
    cores allow, D does not learn so many by heart, p would stay at 0, and images and time would be
    lost. 0 below MIN_TO_HOLD_OUT, too, which are too few to give some away.
    """
    return min(256, number // 10) if MIN_TO_HOLD_OUT <= number < AUGMENT_BELOW else 0


def explained(kinds: tuple[Augmentation, ...], number: int) -> str:
    """The rule and what came of it for a data set of `number` images, in one line for the user."""
    if number >= AUGMENT_BELOW:
        return f"no augmentation: {number:,} images, {AUGMENT_BELOW:,} or more are enough without"
    which = ", ".join(kinds) + (
        " alone (grey figures on a plain ground)" if len(kinds) == 1 else ""
    )
    rule = f"augmentation: {which}, as there are {number:,} images, fewer than {AUGMENT_BELOW:,}"
    if kept := held_out_count(number):
        return f"{rule}; the probability adapts itself, and {kept} images are held out for that"
    return (
        f"{rule}; the probability climbs to {MAX_AUGMENT:g}, as fewer than {MIN_TO_HOLD_OUT} leave"
        " none to measure by"
    )


def memorised_share(known: Tensor, held_out: Tensor) -> Tensor:
    """How far D knows its training images by heart: the mean sign of D(x) - D(y) over all pairs of
    a training image x and a held-out image y. 0 where it cannot tell them apart, 1 where it knows
    every one.

    known, held_out: logits (N,) and (M,) of the same D, before the same update, of images augmented
    with the same p: a relativistic D's logits drift from step to step. A tensor of no dimensions,
    the same after any rising function of logits.

    It is the paper's r_t = E[sign D(x)] with the held-out images in the place of the fixed 0.
    Relativistic logits have no zero (r_t was 1.00 with 200 digits and with 50,000), and in
    trainings this short those of the hinge loss hardly have one (-0.2 to 1). E[sign(D(x) -
    D(G(z)))] is as high while G is bad (0.92 and 0.91) as it gets where D has learnt by heart. This
    was 0.05 at first and 0.5 later with 200 digits, and stayed at 0.04 with 2,000. The paper's r_v
    compares the same images by their mean logits, over a difference that may be 0.
    """
    return (known.unsqueeze(1) - held_out).sign().mean()


def ramp_images(total: int) -> float:
    """How many images p takes from 0 to 1 in a training of `total` images: a quarter of them, at
    most the paper's 500,000."""
    return min(MAX_RAMP, total / 4)


class Controller:
    """Raises p while D knows more than `target` by heart, and lowers it while it knows less (Karras
    et al. 2020, section 3).

    p starts from 0, and takes `ramp` images to rise from 0 to 1. It never exceeds `most`. It is all
    the state there is.
    """

    def __init__(self, ramp: float, target: float = TARGET, most: float = MAX_AUGMENT) -> None:
        self.ramp, self.target, self.most, self.p = ramp, target, most, 0.0

    def update(self, known: float, images: int) -> float:
        """The new p, `images` after the last.

        known: what `memorised_share` says, averaged over the processes; 1.0 where no images can be spared
        to ask: a data set of a
        few dozen is learnt by heart in any case. Not a number: p stays.
        """
        direction = (known > self.target) - (known < self.target)
        self.p = min(self.most, max(0.0, self.p + direction * images / self.ramp))
        return self.p

    def state_dict(self) -> dict[str, float]:
        return {"p": self.p}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over a state. Raises ValueError where it is none."""
        p = state["p"]
        if not isinstance(p, float) or not 0 <= p <= self.most:
            raise ValueError(f"a probability of augmentation of {p}")
        self.p = p
