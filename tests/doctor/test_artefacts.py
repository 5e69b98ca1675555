"""Figures of pictures' artefacts: large for what is wrong, and as in real images otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ganvas import data
from ganvas.doctor.artefacts import Look, artefact_figures
from ganvas.doctor.picture_rules import ARTEFACTS, PictureState


@cache
def photographs(count: int = 64, side: int = 64, seed: int = 0) -> Tensor:
    """Draw images with the spectrum of photographs, uint8 (N, 3, H, W): each of its own colour."""
    rng = torch.Generator().manual_seed(seed)
    waves = torch.fft.rfft2(torch.randn(count, 3, side, side, generator=rng))
    down, right = torch.fft.fftfreq(side).unsqueeze(1), torch.fft.rfftfreq(side)
    waves /= torch.hypot(down, right).clamp(min=1 / side)
    pixels = torch.fft.irfft2(waves, s=(side, side))
    ground = 128 + 40 * torch.randn(count, 3, 1, 1, generator=rng)
    return levels(ground + 30 * pixels / pixels.std())


@cache
def stickers(count: int = 64, seed: int = 0) -> Tensor:
    """Draw a coloured disc with hard edges on white paper: uint8 (N, 3, 64, 64)."""
    rng = torch.Generator().manual_seed(seed)
    place = torch.arange(64.0)
    middle, radius = (
        20 + 24 * torch.rand(count, 2, 1, 1, generator=rng),
        6 + 6 * torch.rand(count, 1, 1),
    )
    inside = (place.view(-1, 1) - middle[:, 0]) ** 2 + (place - middle[:, 1]) ** 2 < radius**2
    colour = 255 * torch.rand(count, 3, 1, 1, generator=rng)
    return levels(torch.where(inside.unsqueeze(1), colour, 255.0))


def levels(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


def blocks(images: Tensor, size: int) -> Tensor:
    """Return images in blocks of some pixels, as pixel art is stored."""
    return levels(interpolate(avg_pool2d(images.float(), size), scale_factor=size))


def chequered(images: Tensor, by: float, period: int = 2, rows: bool = False) -> Tensor:
    height, width = images.shape[2:]
    down, right = (torch.arange(side) // (period // 2) for side in (height, width))
    odd = (down.unsqueeze(1) + (0 if rows else right)) % 2
    return levels(images + by * (1 - 2.0 * odd))


def extents(samples: Tensor, reals: Tensor) -> dict[PictureState, float]:
    """Return the extent of each state: 1 and more for an alarm."""
    figures = artefact_figures(Look.of(samples), Look.of(reals))
    return {state: artefact.extent(figures.get) for state, artefact in ARTEFACTS.items()}


def alarms(samples: Tensor, reals: Tensor) -> list[str]:
    return [state for state, extent in extents(samples, reals).items() if extent >= 1]


def framed(images: Tensor, width: int) -> Tensor:
    darker = images.float() - 60
    darker[:, :, width:-width, width:-width] = images[:, :, width:-width, width:-width].float()
    return levels(darker)


def with_corner(images: Tensor) -> Tensor:
    changed = images.clone()
    changed[:, :, -6:, :6] = images[0, :, -6:, :6]
    return changed


def on_one_ground(images: Tensor) -> Tensor:
    changed = images[:1].repeat(len(images), 1, 1, 1)
    changed[:, :, 16:-16, 16:-16] = images[:, :, 16:-16, 16:-16]
    return changed


def paler(images: Tensor) -> Tensor:
    grey = images.float().mean(1, keepdim=True)
    return levels(grey + 0.1 * (images - grey))


def tinted(images: Tensor) -> Tensor:
    return levels(images + torch.tensor([30.0, -60.0, 30.0]).view(3, 1, 1))


def patterned(images: Tensor) -> Tensor:
    """Give half of the images a lattice of period 11 in one place, dark or light."""
    changed, place = images.float(), torch.arange(images.shape[-1])
    lattice = (place.unsqueeze(1) + place) % 11 < 2
    changed[::4] += 40 * lattice
    changed[1::4] -= 40 * lattice
    return levels(changed)


ILL: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("checkerboards", lambda images: chequered(images, 3)),
    ("checkerboards", lambda images: chequered(images, 6, period=4)),
    ("checkerboards", lambda images: chequered(images, 5, rows=True)),
    ("fixed pattern", patterned),
    ("one background", on_one_ground),
    ("border artefacts", with_corner),
    ("border artefacts", lambda images: framed(images, 2)),
    ("colour cast", tinted),
    ("colour cast", paler),
]  # fmt: skip


@pytest.mark.parametrize(("state", "spoil"), ILL)
def test_what_is_wrong_is_named_and_nothing_else(
    state: str, spoil: Callable[[Tensor], Tensor]
) -> None:
    assert alarms(spoil(photographs()), photographs(256, seed=1)) == [state]


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images,
        lambda images: levels(avg_pool2d(images.float(), 3, 1, 1, count_include_pad=False)),
        lambda images: levels(0.8 * (images.float() - 128) + 128),
        lambda images: levels(images + 8 * torch.randn(images.shape)),
        lambda images: blocks(images, 2),
    ],
    ids=["real", "blurred", "fainter", "noisy", "in blocks"],
)
@pytest.mark.parametrize("kind", ["photographs", "pixel art", "small", "grey", "stickers"])
def test_other_real_images_cause_no_alarm(kind: str, change: Callable[[Tensor], Tensor]) -> None:
    draw: dict[str, Callable[[int, int], Tensor]] = {
        "photographs": lambda count, seed: photographs(count, seed=seed),
        "pixel art": lambda count, seed: blocks(photographs(count, seed=seed), 4),
        "small": lambda count, seed: photographs(count, 16, seed),
        "grey": lambda count, seed: photographs(count, seed=seed)[:, :1],
        "stickers": stickers,
    }
    torch.manual_seed(0)
    found = extents(change(draw[kind](64, 0)), draw[kind](256, 1))
    assert max(found.values()) < 0.9, found


def test_digits_cause_no_alarm() -> None:
    digits, others = (data.load_dataset("mnist-5k", split=part) for part in ("train", "test"))
    assert max(extents(others.images[:64], digits.images[:256]).values()) < 0.7
    assert alarms(chequered(others.images[:64], 30), digits.images[:256]) == ["checkerboards"]


def test_a_few_chequered_pictures_are_pictures() -> None:
    """A flag among the samples is none of the generator's making."""
    some = photographs().clone()
    some[:8] = chequered(some[:8], 60)
    assert alarms(some, photographs(256, seed=1)) == []


def test_real_images_with_the_grid_s_patterns_explain_those_of_samples() -> None:
    reals = chequered(photographs(256, seed=1), 10)
    assert alarms(chequered(photographs(), 10), reals) == []
    assert alarms(photographs(), reals) == []


def test_a_faint_pattern_is_not_seen() -> None:
    flat = torch.full((64, 3, 64, 64), 128, dtype=torch.uint8)
    faint = flat.clone()
    faint[:, :, ::2, :8:2] += 1
    assert extents(faint, flat)["checkerboards"] < 0.7


def test_one_background_of_real_images_may_be_that_of_samples() -> None:
    figures = artefact_figures(Look.of(stickers()), Look.of(stickers(256, seed=1)))
    assert "background" not in figures
    assert "border_variation" not in figures
    assert alarms(framed(stickers(), 2), stickers(256, seed=1)) == ["border artefacts"]


def test_transparent_pixels_have_no_colour() -> None:
    def cut_out(images: Tensor, hidden: int) -> Tensor:
        """Make a square visible and give the rest a colour that nobody sees."""
        alpha = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.uint8)
        alpha[:, :, 16:-16, 16:-16] = 255
        colours = torch.where(alpha > 0, images, torch.tensor(hidden, dtype=torch.uint8))
        return torch.cat([colours, alpha], 1)

    reals = cut_out(photographs(256, seed=1), 0)
    seen = cut_out(photographs(), 255)
    seen[:, 2, ::2, ::2] = torch.where(seen[:, 3, ::2, ::2] > 0, seen[:, 2, ::2, ::2], 0)
    assert extents(seen, reals) == extents(cut_out(photographs(), 0), reals)
    spoiled = cut_out(tinted(photographs()), 0)
    assert alarms(spoiled, reals) == ["colour cast"]
    assert alarms(cut_out(chequered(photographs(), 8), 0), reals) == ["checkerboards"]
    unseen = torch.zeros(64, 4, 64, 64, dtype=torch.uint8)
    assert alarms(unseen, unseen) == []


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (9, 11), (16, 16), (30, 50), (96, 64)])
def test_images_of_any_shape_are_measured(shape: tuple[int, int]) -> None:
    some = photographs(64, 96)[:, :, : shape[0], : shape[1]]
    figures = artefact_figures(Look.of(some[:32]), Look.of(some[32:]))
    assert all(torch.tensor(list(figures.values())).isfinite())
    assert ("grid_peak" in figures) == (min(shape) >= 16)
    assert "chroma" in figures
    grey = artefact_figures(Look.of(some[:32, :1]), Look.of(some[32:, :1]))
    assert not {"chroma", "red_shift", "colour_spread"} & grey.keys()


def test_noise_in_every_pixel_is_no_border() -> None:
    """Dense generators give each pixel an error of its own, in the corners as elsewhere."""
    digits, others = (data.load_dataset("mnist-5k", split=part) for part in ("train", "test"))
    error = 60 * torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert alarms(levels(others.images[:64] + error), digits.images[:256]) == []
    assert alarms(framed(255 - others.images[:64], 1), 255 - digits.images[:256]) == [
        "border artefacts"
    ]
