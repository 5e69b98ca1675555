"""The doctor's rules for what pictures suffer from: checkerboards, a fixed pattern, one background,
wrong borders, wrong colours.

Samples are compared with real images (ganvas.doctor.artefacts), so whatever real images have, hard
pixels or white paper, causes no alarm. All samples have some of this at first. It is a state only
where it has lasted and does not pass; until then it is too early to tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from ganvas.doctor.artefacts import FAINT_STEP
from ganvas.doctor.log_summary import LogSummary

Get = Callable[[str], float | None]  # a figure by its name, None if it was never taken

# Images below which every generator's samples look wrong somewhere, and the part of the plan in
# which they still may.
YOUNG_IMAGES = 10_000
YOUNG_PART = 0.25
# A figure this many times as bad as in the first half is on its way, until the training ends.
ON_ITS_WAY = 0.5

# Checkerboards. Energy at a frequency of the pixel grid over that around it, over the same of real
# images: other halves of real images have up to 1.1, blurred ones 1.2 (3.1 at 16x16), JPEGs of
# quality 10 1.9, blocks of four pixels 3.6. Transposed convolutions reach 7 to 90.
CHECKERED = 5.0

# A fixed pattern: the same detail in the same place of many samples. Squared cosine of two samples'
# fine detail over that of real images: other halves of these have up to 1.5, trainings whose sheets
# show none up to 5.
FIXED = 8.0
FAINT_LIKENESS = 2e-3  # a likeness below which no pattern is seen

# One background. Mean deviation near the border from the median, over that of real images: other
# halves of these have 0.6 or more.
ONE_BACKGROUND = 0.2

# Border artefacts. The same of a single side or corner: 0.6 or more. A difference from the picture
# next to it counts if it is off that of real images by more than is usual and FAINT_STEP: other
# halves of real images stay below 0.5 of that, blurred ones below 0.8.
FROZEN = 0.2

# Colour cast. Distance of the mean colour, without its brightness, from that of real images, in
# standard deviations of theirs: other halves have up to 0.4.
CAST = 0.75
FAINT_CAST = 8.0  # levels below which a cast is hardly seen
# Strength of the colours over that of real images: other halves have 0.7 or more.
PALE = 0.3
MIN_CHROMA = 5.0  # levels above which real images have colours


class Artefact(NamedTuple):
    """A flaw of pictures.

    extent: its figures over the limit: 1 or more for a flaw. 0 if nothing was measured.
    evidence: the same in words.
    """

    extent: Callable[[Get], float]
    evidence: Callable[[Get], str]


def _values(get: Get, *names: str) -> list[float] | None:
    """Return figures by name; None unless all were taken."""
    values = [value for name in names if (value := get(name)) is not None]
    return values if len(values) == len(names) else None


def _both(get: Get, name: str) -> tuple[float, float] | None:
    """Return a figure of samples and of real images."""
    values = _values(get, name, f"real_{name}")
    return (values[0], values[1]) if values else None


def _checkered(get: Get) -> float:
    if (peak := _both(get, "grid_peak")) is None:
        return 0.0
    return peak[0] / max(1.0, peak[1]) / CHECKERED


def _fixed(get: Get) -> float:
    likeness = _both(get, "detail_likeness")
    if likeness is None or _one_background(get) >= 1:
        return 0.0
    return likeness[0] / max(FAINT_LIKENESS, likeness[1]) / FIXED


def _share(get: Get, name: str) -> float:
    """Return a figure over that of real images, infinite if it was not taken."""
    values = _both(get, name)
    return values[0] / values[1] if values and values[1] > 0 else math.inf


def _one_background(get: Get) -> float:
    return ONE_BACKGROUND / max(1e-6, _share(get, "background"))


def _frozen(get: Get) -> float:
    return FROZEN / max(1e-6, _share(get, "border_variation"))


def _stepped(get: Get) -> float:
    values = _values(get, "border_step", "real_border_step", "border_step_usual")
    if values is None:
        return 0.0
    step, real, usual = values
    return abs(step - real) / (usual + FAINT_STEP)


def _border_artefacts(get: Get) -> float:
    return 0.0 if _one_background(get) >= 1 else max(_frozen(get), _stepped(get))


def _shift(get: Get) -> tuple[list[float], float] | None:
    """Return the mean colour's shift and its length without the change of brightness."""
    if (shift := _values(get, "red_shift", "green_shift", "blue_shift")) is None:
        return None
    grey = sum(shift) / 3
    return shift, math.hypot(*(value - grey for value in shift))


def _cast(get: Get) -> float:
    shift, spread = _shift(get), get("colour_spread")
    if shift is None or spread is None:
        return 0.0
    return shift[1] / max(FAINT_CAST, CAST * spread)


def _pale(get: Get) -> float:
    chroma = _both(get, "chroma")
    if chroma is None or chroma[1] < MIN_CHROMA:
        return 0.0
    return PALE * chroma[1] / max(1e-6, chroma[0])


def _colour_cast(get: Get) -> float:
    return 0.0 if _one_background(get) >= 1 else max(_cast(get), _pale(get))


def _checkerboards(get: Get) -> str:
    peak, real = _both(get, "grid_peak") or (math.nan, math.nan)
    return (
        f"at a frequency of the pixel grid, samples have {peak:.3g} times the energy of the"
        f" frequencies around it (real images: {real:.3g})"
    )


def _fixed_pattern(get: Get) -> str:
    likeness, real = _both(get, "detail_likeness") or (math.nan, math.nan)
    return (
        f"fine detail lies in the same places: from sample to sample it has a squared cosine of"
        f" {likeness:.2g} (from real image to real image: {real:.2g})"
    )


def _background(get: Get) -> str:
    sample, real = _both(get, "background") or (math.nan, math.nan)
    return (
        f"from sample to sample, the background varies by {sample:.3g} levels"
        f" (from real image to real image: {real:.3g})"
    )


def _border(get: Get) -> str:
    texts = []
    if _frozen(get) >= 1:
        sample, real = _both(get, "border_variation") or (math.nan, math.nan)
        texts.append(
            f"one side or corner varies by {sample:.3g} levels from sample to sample"
            f" (from real image to real image: {real:.3g})"
        )
    if _stepped(get) >= 1:
        step, real = _both(get, "border_step") or (math.nan, math.nan)
        texts.append(
            f"one side or corner differs by {step:.3g} levels from the picture next to it"
            f" (in real images: {real:.3g})"
        )
    return "; ".join(texts)


def _colours(get: Get) -> str:
    texts = []
    if _pale(get) >= 1:
        sample, real = _both(get, "chroma") or (math.nan, math.nan)
        texts.append(f"colours have a strength of {sample:.3g} levels (real images: {real:.3g})")
    shift = _shift(get)
    if _cast(get) >= 1 and shift is not None:
        names = zip(("red", "green", "blue"), shift[0], strict=True)
        off = ", ".join(f"{value:+.0f} of {name}" for name, value in names)
        texts.append(
            f"the mean colour is off that of real images by {off} (of 255 levels; real images vary"
            f" by {get('colour_spread'):.3g})"
        )
    return "; ".join(texts)


PictureState = Literal[
    "one background", "checkerboards", "fixed pattern", "border artefacts", "colour cast"
]
# samples with one background have its pattern, border and colour, which are left out then
ARTEFACTS: dict[PictureState, Artefact] = {
    "one background": Artefact(_one_background, _background),
    "checkerboards": Artefact(_checkered, _checkerboards),
    "fixed pattern": Artefact(_fixed, _fixed_pattern),
    "border artefacts": Artefact(_border_artefacts, _border),
    "colour cast": Artefact(_colour_cast, _colours),
}


def lasting(log: LogSummary, state: PictureState) -> str | None:
    """Return the evidence for a state that has lasted; None if there is none, or none yet."""
    extent, evidence = ARTEFACTS[state]
    now, before = extent(log.now), extent(log.before)
    part = log.run.card.plan.progress(log.last["images"])
    if now < 1 or log.last["images"] < YOUNG_IMAGES or part < YOUNG_PART:
        return None
    if part < 1 and now <= ON_ITS_WAY * before:
        return None
    return evidence(log.now)


def passing(log: LogSummary) -> str | None:
    """Return what samples still suffer from, for a run with no state that has lasted."""
    shown = [
        f"{state}, which may pass: {evidence(log.now)}"
        for state, (extent, evidence) in ARTEFACTS.items()
        if extent(log.now) >= 1
    ]
    return "; ".join(shown) or None
