"""Augmentations: exact values, gradients through them once and twice, and their draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganvas import data
from ganvas.data.pixels import to_float
from ganvas.layers.passes import AutogradPass
from ganvas.objectives import squared_gradient_norm
from ganvas.system import seeding
from ganvas.training.augment import (
    AugmentParams,
    apply,
    backward,
    sample_params,
)
from ganvas.training.distributed import World

ALL = ("translation", "colour", "cutout")


def drawn(
    count: int,
    p: float,
    size: tuple[int, int] = (16, 24),
    kinds: tuple[str, ...] = ALL,
    seed: int = 0,
) -> AugmentParams:
    return sample_params(seeding.generator(seed, "augment", 0), count, kinds, size, p)  # type: ignore[arg-type]


def pictures(
    count: int = 8,
    channels: int = 3,
    size: tuple[int, int] = (16, 24),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    return (
        torch.rand(
            (count, channels, *size), dtype=dtype, generator=torch.Generator().manual_seed(1)
        )
        * 2
        - 1
    )


def moved(picture: list[list[float]], down: int, right: int) -> list[list[float]]:
    images = torch.tensor(picture)[None, None]
    return apply(images, AugmentParams(shift=torch.tensor([[down, right]])))[0, 0].tolist()  # type: ignore[no-any-return]


def test_translation_moves_whole_pixels_and_repeats_the_edge() -> None:
    picture = [[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert moved(picture, 0, 0) == picture
    assert moved(picture, 1, 0) == [[1, 2, 3], [1, 2, 3], [4, 5, 6]]
    assert moved(picture, -1, 0) == [[4, 5, 6], [7, 8, 9], [7, 8, 9]]
    assert moved(picture, 0, 1) == [[1, 1, 2], [4, 4, 5], [7, 7, 8]]
    assert moved(picture, -1, 2) == [[4, 4, 4], [7, 7, 7], [7, 7, 7]]


@pytest.mark.parametrize("ground", [-1.0, 1.0])
def test_a_moved_figure_is_the_same_figure_on_the_same_ground(ground: float) -> None:
    images = torch.full((49, 1, 28, 28), ground)
    images[:, :, 4:24, 4:24] = pictures(1, 1, (20, 20))
    shift = torch.cartesian_prod(torch.arange(-3, 4), torch.arange(-3, 4))
    after = apply(images, AugmentParams(shift=shift))
    for image, (down, right) in zip(after, shift.tolist(), strict=True):
        expected = torch.full((1, 28, 28), ground)
        expected[:, 4 + down : 24 + down, 4 + right : 24 + right] = images[0, :, 4:24, 4:24]
        assert torch.equal(image, expected)
    torch.testing.assert_close(after.sum((1, 2, 3)), images.sum((1, 2, 3)))  # nothing of it is lost


def test_real_digits_keep_their_mass() -> None:
    images = to_float(data.load_dataset("mnist-5k").images[::40])
    after = apply(images, drawn(len(images), 1.0, (28, 28), ("translation",)))
    black = images[:, 0] == -1
    margin = (
        black[:, :3].all(2).all(1)
        & black[:, -3:].all(2).all(1)
        & black[..., :3].all(2).all(1)
        & black[..., -3:].all(2).all(1)
    )
    assert margin.double().mean() > 0.9  # nearly all of them can be moved by three pixels
    torch.testing.assert_close(
        (after[margin] + 1).sum((1, 2, 3)), (images[margin] + 1).sum((1, 2, 3))
    )
    assert (after != images).flatten(1).any(1).double().mean() > 0.9


def coloured(pixels: list[list[float]], *colour: float) -> list[list[float]]:
    """One row of pixels, each a list of channels."""
    images = torch.tensor(pixels, dtype=torch.float64).T[None, :, None]
    changed = apply(images, AugmentParams(colour=torch.tensor([colour])))[0, :, 0].T
    return [[round(value, 6) for value in pixel] for pixel in changed.tolist()]


def test_colour_by_hand() -> None:
    grey, rgb = [[-1.0], [0.0]], [[0.2, 0.4, 0.6], [-0.2, -0.2, 0.4]]  # greys 0.4 and 0.0, mean 0.2
    assert coloured(grey, 0.25, 1, 1) == [[-0.75], [0.25]]
    assert coloured(grey, 0, 1, 0.5) == [[-0.75], [-0.25]]  # towards the mean, -0.5
    assert coloured(grey, 0.25, 0, 1.5) == [[-1], [0.5]]  # grey has no saturation
    assert coloured(rgb, 0, 0, 1) == [[0.4] * 3, [0.0] * 3]
    assert coloured(rgb, 0, 2, 1) == [[0, 0.4, 0.8], [-0.4, -0.4, 0.8]]
    assert coloured(rgb, 0, 1, 0.5) == [[0.2, 0.3, 0.4], [0, 0, 0.3]]
    # brightness 0.5: means 0.9, 0.5 and 0.7; without saturation [0.9], [0.5]; contrast 0.5 around
    # 0.7
    assert coloured(rgb, 0.5, 0, 0.5) == [[0.8] * 3, [0.6] * 3]


def test_colour_in_one_pass_is_the_papers_three_steps() -> None:
    images, colour = pictures(dtype=torch.float64), drawn(8, 1.0).colour
    assert colour is not None
    brightness, saturation, contrast = colour.double().view(-1, 3, 1, 1, 1).unbind(1)
    expected = images + brightness
    for factor, over in ((saturation, (1,)), (contrast, (1, 2, 3))):
        mean = expected.mean(over, keepdim=True)
        expected = (expected - mean) * factor + mean
    torch.testing.assert_close(apply(images, AugmentParams(colour=colour)), expected)


def test_alpha_is_not_coloured() -> None:
    images, changes = pictures(channels=4), drawn(8, 1.0, kinds=("colour",))
    after = apply(images, changes)
    assert torch.equal(after[:, 3], images[:, 3])
    assert torch.equal(after[:, :3], apply(images[:, :3].contiguous(), changes))


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [
        (8, 12, (4, 12), (6, 18)),
        (0, 0, (0, 4), (0, 6)),
        (16, 24, (12, 16), (18, 24)),
        (-16, -24, (0, 0), (0, 0)),
    ],
)
def test_cutout_is_a_box_of_half_the_sides(
    row: int, column: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    images = pictures(1, 3, (16, 24)) + 2
    expected = images.clone()
    expected[:, :, slice(*rows), slice(*columns)] = 0
    assert torch.equal(apply(images, AugmentParams(cutout=torch.tensor([[row, column]]))), expected)


def test_cutout_covers_every_pixel_now_and_then_and_no_side_more_than_its_opposite() -> None:
    for size in ((16, 24), (15, 13)):
        covered = (
            (apply(torch.ones(4000, 1, *size), drawn(4000, 1.0, size, ("cutout",))) == 0)
            .double()
            .mean((0, 1))
        )
        assert 0.05 < covered.min() < covered.max() < 0.3
        for axis in (0, 1):
            torch.testing.assert_close(covered, covered.flip(axis), atol=0.04, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kinds", [(kind,) for kind in ALL] + [ALL])
def test_gradients_once_and_twice(channels: int, kinds: tuple[str, ...]) -> None:
    images = pictures(2, channels, (4, 5), torch.float64).requires_grad_()
    changes = drawn(2, 1.0, (4, 5), kinds)

    def square(x: Tensor) -> Tensor:
        return apply(x, changes).square()

    assert torch.autograd.gradcheck(square, images)
    assert torch.autograd.gradgradcheck(square, images)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_gradient_is_pulled_back_without_the_images(channels: int) -> None:
    changes = drawn(8, 0.7)
    images = pictures(channels=channels).requires_grad_()
    gradient = pictures(channels=channels).cos()
    (expected,) = torch.autograd.grad(apply(images, changes), images, gradient)
    with torch.no_grad():
        gradient_before = backward(gradient, changes)
    torch.testing.assert_close(gradient_before, expected)
    assert not gradient_before.requires_grad
    assert torch.equal(backward(gradient, AugmentParams()), gradient)


def test_g_learns_through_augmentation_what_autograd_says() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 3 * 8 * 8), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
    discriminator = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(36, 1), nn.Flatten(0)
    )
    z, changes = torch.randn(8, 4), drawn(8, 0.8, (8, 8))
    softplus(-discriminator(apply(generator(z), changes))).sum().backward()  # type: ignore[no-untyped-call]
    expected = [p.grad for p in generator.parameters()]
    made = AutogradPass(generator, z)
    judged = AutogradPass(discriminator, apply(made.output, changes))
    made.to_weights(backward(judged.to_input(-torch.sigmoid(-judged.output)), changes))
    for parameter, gradient in zip(generator.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_r1_is_taken_of_the_image_before_augmentation() -> None:
    changes, weight = drawn(8, 1.0), torch.ones((), requires_grad=True)
    penalty = squared_gradient_norm(
        lambda x: (apply(x, changes).square() * weight).sum((1, 2, 3)), pictures()
    )
    penalty.sum().backward()  # type: ignore[no-untyped-call]
    unweighted = squared_gradient_norm(
        lambda x: apply(x, changes).square().sum((1, 2, 3)), pictures()
    )
    assert weight.grad is not None
    # The penalty is proportional to the square of the weight.
    torch.testing.assert_close(weight.grad, 2 * unweighted.sum())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_dtype_and_memory_layout_stay(channels: int, layout: torch.memory_format) -> None:
    for kinds in ((), *((kind,) for kind in ALL), ALL):
        changes = drawn(8, 0.8, kinds=kinds)
        for dtype in (torch.float32, torch.bfloat16):
            images = pictures(channels=channels).to(dtype).contiguous(memory_format=layout)
            after = apply(images, changes)
            for same in (after, backward(after, changes)):
                assert (same.shape, same.dtype) == (images.shape, dtype)
                assert same.is_contiguous(memory_format=layout), kinds
            # whatever the layout
            assert torch.equal(apply(pictures(channels=channels).to(dtype), changes), after)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_with_p_0_nothing_changes(channels: int) -> None:
    images = pictures(channels=channels)
    assert apply(images, drawn(8, 0.0)) is images
    assert backward(images, drawn(8, 0.0)) is images
    unlucky = drawn(8, 1e-9)  # drawn, but none is chosen
    assert unlucky.colour is not None
    assert torch.equal(apply(images, unlucky), images)


def test_with_p_1_every_image_is_recoloured_and_cut_and_moved_to_all_places_alike() -> None:
    shift, colour, cutout = drawn(9800, 1.0, (28, 28))
    assert shift is not None
    assert colour is not None
    assert cutout is not None
    assert (colour != torch.tensor([0.0, 1, 1])).any(1).all()
    assert (cutout >= 0).all()
    places, counts = shift.unique(dim=0, return_counts=True)
    assert places.tolist() == [[down, right] for down in range(-3, 4) for right in range(-3, 4)]
    assert 140 < counts.min() < counts.max() < 260  # 200 each, 14 standard deviations apart at most


def test_ranges_are_those_of_the_paper() -> None:
    shift, colour, cutout = drawn(20_000, 1.0, (64, 8))
    assert shift is not None
    assert colour is not None
    assert cutout is not None
    assert (shift.amin(0).tolist(), shift.amax(0).tolist()) == ([-8, -1], [8, 1])
    assert (cutout.amin(0).tolist(), cutout.amax(0).tolist()) == ([0, 0], [64, 8])
    torch.testing.assert_close(colour.amin(0), torch.tensor([-0.5, 0, 0.5]), atol=1e-3, rtol=0)
    torch.testing.assert_close(colour.amax(0), torch.tensor([0.5, 2, 1.5]), atol=1e-3, rtol=0)


def test_pictures_of_a_pixel_do_not_move() -> None:
    images = pictures(8, 3, (1, 1))
    changes = drawn(8, 1.0, (1, 1), ("translation", "cutout"))
    assert torch.equal(apply(images, changes), images)


def test_each_kind_is_made_with_probability_p_on_its_own() -> None:
    shift, colour, cutout = drawn(40_000, 0.3)
    assert shift is not None
    assert colour is not None
    assert cutout is not None
    made = torch.stack([(shift != 0).any(1), colour[:, 0] != 0, cutout[:, 0] >= 0]).double()
    moves = 1 - 1 / (5 * 7)  # not to the place where it was
    torch.testing.assert_close(
        made.mean(1), torch.tensor([0.3 * moves, 0.3, 0.3]).double(), atol=0.01, rtol=0
    )
    assert torch.corrcoef(made).fill_diagonal_(0).abs().max() < 0.02


def test_a_larger_p_changes_more_images_and_those_before_in_the_same_way() -> None:
    for less, more, untouched in zip(
        drawn(200, 0.3), drawn(200, 0.6), drawn(200, 1e-9), strict=True
    ):
        assert less is not None
        assert more is not None
        assert untouched is not None
        changed = (less != untouched).any(1)
        assert torch.equal(less[changed], more[changed])
        assert (more != untouched).any(1).sum() > changed.sum()


def test_an_image_is_changed_whatever_lies_beside_it() -> None:
    images, changes = pictures(channels=3), drawn(8, 0.7)
    whole = apply(images, changes)
    for k in range(8):
        alone = apply(images[k : k + 1], changes.each(lambda t, k=k: t[k : k + 1]))  # type: ignore[misc]
        torch.testing.assert_close(alone[0], whole[k], rtol=0, atol=1e-6)


def test_two_processes_change_their_images_as_one_does() -> None:
    images, changes = pictures(), drawn(8, 0.7)
    parts = [
        apply(world.shard(images), changes.each(world.shard))
        for world in (World(0, 2), World(1, 2))
    ]
    torch.testing.assert_close(torch.cat(parts), apply(images, changes), rtol=0, atol=1e-6)


def test_draws_are_a_function_of_the_generator_and_do_not_depend_on_the_other_kinds() -> None:
    for one, two, other in zip(drawn(50, 0.5), drawn(50, 0.5), drawn(50, 0.5, seed=1), strict=True):
        assert one is not None
        assert two is not None
        assert other is not None
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
    together = drawn(50, 0.5)
    for kind, tensor in zip(ALL, together, strict=True):
        single: list[Tensor] = [t for t in drawn(50, 0.5, kinds=(kind,)) if t is not None]
        assert tensor is not None
        assert len(single) == 1
        assert torch.equal(single[0], tensor)
