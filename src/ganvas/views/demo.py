"""`ganvas demo 1d`: two small networks learn a curve, drawn at several moments of training.

Everything happens on a line, so that nothing is hidden. Each panel shows, from top to bottom:

- The blue hill: the density of the real data, with a large and a small hump.
- The orange hill: the density of what the generator makes. It starts as a narrow spike. The
  generator never sees the real data: only the discriminator tells it which way to move its values.
- The dashed line: the discriminator. At every x, it is the probability that a value found there is
  real: 1 is "surely real", 0 "surely generated", 0.5 "I cannot tell".
- The strip below: the generator. Each thin line takes one noise value z (bottom) to x = G(z) (top).
  All lines carry the same share of the noise, so where they crowd together the orange hill is high.

At first the discriminator gets ahead: it is high on blue and low on orange. The generator moves its
values up that slope, so the orange hill slides, spreads and splits until it lies on the blue one.
Then no answer is better than 0.5, and the dashed line is nearly flat wherever there are data.
Elsewhere it is drawn faint: nothing was ever judged there, so its height means nothing.

The picture follows figure 1 of Goodfellow et al., "Generative Adversarial Nets" (2014), but with
the measured curves of two networks that are trained on the spot in a few seconds.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from ganvas.errors import SettingError
from ganvas.runs.train_options import check_positive
from ganvas.system.files import write, writing
from ganvas.system.marks import SHEET_MARK
from ganvas.views.timelapse import encode_gif

# The real data: a mixture of two normal distributions, as (share, mean, standard deviation).
# Unequal on purpose, so that the generator must learn where the humps are, how wide they are and
# how much of the data each holds.
HUMPS = ((0.65, -1.0, 0.55), (0.35, 1.1, 0.35))
DEMO_BATCH = 512
LR_G, LR_D = 7e-4, 7e-3
AXIS_SPAN = 3.2  # both axes, x and z, are drawn from -AXIS_SPAN to AXIS_SPAN
GRID = torch.linspace(-AXIS_SPAN, AXIS_SPAN, 401)
# noise values, each in the middle of one of 2000 equal shares of the normal distribution
QUANTILES: Tensor = torch.special.ndtri((torch.arange(2000) + 0.5) / 2000)
PANELS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)  # moments of the PNG, as fractions of the training
MAX_FRAMES = 40  # of the GIF

# Okabe and Ito's blue and vermilion: safe for colour blindness
REAL, FAKE, JUDGE = "#0072B2", "#D55E00", "#222222"
# endings of a file, by which --out is refused as it must be a folder
PICTURE_ENDINGS = (".png", ".gif", ".jpg", ".jpeg", ".webp")
# D and both densities share one vertical axis, cut here; a higher peak is marked with its height
TOP = 1.05
TITLE = "How a GAN learns: the orange hill becomes the blue one"
CAPTION = (
    "D, the discriminator, says how sure it is that a value x is real (drawn faint where there is"
    " nothing to judge). Each thin line takes one noise value z to x = G(z), what the generator"
    " makes of it; all lines carry the same share of the noise. G moves its values to where D is"
    " higher. Once orange lies on blue, D can only answer 0.5."
)


@dataclass(frozen=True)
class Moment:
    """Both networks after `step` updates. All tensors are float32 on the CPU.

    generated: (2000,) G(z) of QUANTILES.
    density: (401,) of the generated values on GRID, smoothed with a normal kernel of width 0.06.
    decision: (401,) D's probability of "real" on GRID, 0 to 1.
    on_real, on_generated: mean of D over 2000 real values and over `generated`.
    overlap: area under both densities at once, from 0 (apart) to 1 (equal).
    """

    step: int
    generated: Tensor
    density: Tensor
    decision: Tensor
    on_real: float
    on_generated: float
    overlap: float


def demo_1d(out: Path, *, seed: int = 0, steps: int = 1500) -> tuple[Path, Path]:
    """Train the one-dimensional GAN; write demo-1d.png and demo-1d.gif and return their paths.

    The same arguments give the same numbers on the same machine; the global random state is not
    changed. It takes about ten seconds on one core.

    out: the folder. Existing files of these names are replaced, each at once.
    seed: of the networks and the data.
    steps: updates of each network.

    Raises SettingError for an impossible argument and RunError if the folder cannot be written.
    """
    if not 0 <= seed < 2**63:
        raise SettingError(f"--seed {seed}: expected a whole number from 0 to 2**63 - 1")
    check_positive("--steps", steps)
    if out.suffix.lower() in PICTURE_ENDINGS:
        raise SettingError(f"--out {out}: expected a folder, for demo-1d.png and demo-1d.gif")
    # before the training, so that nobody waits for a picture that cannot be saved
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    still, moving = [round(steps * fraction) for fraction in PANELS], _frame_steps(steps)
    history = train_1d(seed, steps, at={*still, *moving})
    frames = [_frame(history[step]) for step in moving]
    png, gif = out / "demo-1d.png", out / "demo-1d.gif"
    write(png, _png([history[step] for step in still]))
    # milliseconds; the last picture stays, so that the end can be read
    write(gif, encode_gif(frames, [100] * (len(frames) - 1) + [2500]))
    return png, gif


def train_1d(seed: int, steps: int, at: set[int]) -> dict[int, Moment]:
    """Train both networks for `steps` updates; return a Moment for each step in `at` (0 is before
    training).

    The losses are those of Goodfellow et al. (2014), with the non-saturating one for G. D's sigmoid
    is part of the loss, for numerical safety.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would also reseed the GPUs
        torch.default_generator.manual_seed(seed)
        G, D = _network(32), _network(64)
    # z and -z are equally likely, so G's input may be turned: then G rises with z and the drawn
    # lines do not cross.
    with torch.no_grad():
        if G(torch.ones(1)) < G(-torch.ones(1)):
            next(G.parameters()).neg_()
    # Three plain choices make this settle for every seed tried, without a penalty term. D learns
    # ten times faster than G, so that G follows an up-to-date judge: the overlap ends at 0.96; with
    # G's rate for both it ends at 0.81. No momentum (first beta 0), since momentum carries each
    # past the point where the other has turned: with 0.5 the overlap ends at 0.95. And the learning
    # rates fall to zero in the second half, which ends the last small swings.
    adam_g = torch.optim.Adam(G.parameters(), LR_G, betas=(0.0, 0.99))
    adam_d = torch.optim.Adam(D.parameters(), LR_D, betas=(0.0, 0.99))
    history = {0: _observe(0, G, D)} if 0 in at else {}
    for step in range(1, steps + 1):
        rate = min(1.0, 2 * (1 - (step - 1) / steps))
        adam_g.param_groups[0]["lr"], adam_d.param_groups[0]["lr"] = LR_G * rate, LR_D * rate
        fake = G(torch.randn(DEMO_BATCH, 1, generator=random))
        real = _real(DEMO_BATCH, random)
        loss_d = F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()
        adam_d.zero_grad()
        torch.autograd.backward(loss_d)
        adam_d.step()
        loss_g = F.softplus(-D(fake)).mean()
        adam_g.zero_grad()
        torch.autograd.backward(loss_g)
        adam_g.step()
        if step in at:
            history[step] = _observe(step, G, D)
    return history


def real_density(x: Tensor) -> Tensor:
    """Compute the exact density of the real data at each x, float32 of the shape of `x`."""
    humps = (share * _normal(x, mean, width) for share, mean, width in HUMPS)
    return sum(humps, torch.zeros_like(x))


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
    )


def _real(count: int, random: torch.Generator) -> Tensor:
    (share, mean, width), (_, other_mean, other_width) = HUMPS
    first = torch.rand(count, 1, generator=random) < share
    noise = torch.randn(count, 1, generator=random)
    return torch.where(first, mean + width * noise, other_mean + other_width * noise)


def _normal(x: Tensor, mean: Tensor | float, width: float) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / width) ** 2) / (width * math.sqrt(2 * math.pi))


@torch.no_grad()
def _observe(step: int, generator: nn.Module, discriminator: nn.Module) -> Moment:
    generated: Tensor = generator(QUANTILES[:, None])[:, 0]
    # its own generator: looking must not change the training
    real = _real(2000, torch.Generator().manual_seed(0))
    density = _normal(GRID[:, None], generated, 0.06).mean(dim=1)

    def judged(x: Tensor) -> Tensor:
        return torch.sigmoid(discriminator(x.reshape(-1, 1)))[:, 0]

    overlap = torch.minimum(density, real_density(GRID)).sum() * (GRID[1] - GRID[0])
    means = judged(real).mean().item(), judged(generated).mean().item()
    return Moment(step, generated, density, judged(GRID), *means, min(1.0, overlap.item()))


def _frame_steps(steps: int) -> list[int]:
    """Return up to MAX_FRAMES distinct, rising steps from 0 to `steps`.

    They are close together at the start, where most happens.
    """
    last = min(MAX_FRAMES - 1, steps)
    return [max(i, round(steps * (i / last) ** 2.5)) for i in range(last + 1)]


def _figure(moments: Sequence[Moment]) -> Figure:
    """Draw one panel per moment, up to three in a row, below a title and a legend and above the
    caption."""
    columns = min(3, len(moments))
    rows = -(-len(moments) // columns)
    width = 0.6 + (4.3 if columns == 3 else 5.8) * columns  # inches, like all lengths here
    caption = textwrap.wrap(CAPTION, int(width * 14))
    foot, head = 0.55 + 0.16 * len(caption), 1.15
    height = head + 2.9 * rows + 0.6 * (rows - 1) + foot
    figure = Figure(figsize=(width, height), dpi=100)
    # the left, lower, right and upper edges of the panels
    figure.subplots_adjust(0.42 / width, foot / height, 1 - 0.2 / width, 1 - head / height)
    grid = figure.add_gridspec(rows, columns, hspace=0.8 / 2.9, wspace=0.12)
    for i, moment in enumerate(moments):
        pair = grid[i // columns, i % columns].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.16)
        _draw(figure.add_subplot(pair[0]), figure.add_subplot(pair[1]), moment)
    figure.suptitle(TITLE, y=1 - 0.12 / height, fontsize=13, fontweight="bold")
    curves = figure.axes[0].get_legend_handles_labels()
    place: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - 0.36 / height)}
    figure.legend(*curves, **place, ncols=3, frameon=False, fontsize=10)
    figure.supxlabel("\n".join(caption), y=0.1 / height, fontsize=9, color="#444444")
    return figure


def _draw(top: Axes, strip: Axes, moment: Moment) -> None:
    """Draw a panel: densities and D's decision in `top`, lines from noise to value in `strip`."""
    x, real, generated = GRID.numpy(), real_density(GRID).numpy(), moment.density.numpy()
    for density, colour, name in ((real, REAL, "real"), (generated, FAKE, "generated")):
        top.fill_between(x, density, color=colour, alpha=0.22, linewidth=0)
        top.plot(x, density, color=colour, linewidth=2, label=f"{name} density")
    top.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    decision = moment.decision.numpy()
    judged = np.where(np.maximum(real, generated) > 0.02, decision, np.nan)
    dashes: Any = {"color": JUDGE, "linewidth": 1.6, "linestyle": (0, (4, 2))}
    top.plot(x, np.where(np.isnan(judged), decision, np.nan), **dashes, alpha=0.3)
    top.plot(x, judged, **dashes, label="D(x): how sure that x is real")
    if (peak := generated.max()) > TOP:
        edge = x[generated > 0.8].max() + 0.12
        top.text(edge, 0.97, f"peak {peak:.1f}", fontsize=9, color=FAKE, va="center")
    top.set_title(f"step {moment.step}", fontsize=12, fontweight="bold", loc="left")
    means = f"mean D: {moment.on_real:.2f} on real, {moment.on_generated:.2f} on generated"
    figures = f"overlap {moment.overlap:.0%}\n{means}"
    top.set_title(figures, fontsize=9, loc="right", color="#444444")
    ends = torch.stack([QUANTILES, moment.generated])[:, 20::40].numpy()
    strip.plot(ends, [0, 1], color=FAKE, linewidth=0.7, alpha=0.75)
    top.set(ylim=(0, TOP), yticks=[0, 0.5, 1])
    strip.set(ylim=(0, 1), yticks=[])
    for axes, name in ((top, "value x"), (strip, "noise z")):
        axes.set(xlim=(-AXIS_SPAN, AXIS_SPAN), xticks=range(-2, 3))
        axes.tick_params(labelsize=9, length=2.5, pad=2)
        below: Any = {"textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate(name, (1, 0), (0, -4), "axes fraction", fontsize=9, **below)
        axes.spines[["top", "right"]].set_visible(False)
    strip.spines["left"].set_visible(False)
    strip.spines["top"].set_visible(True)


def _png(moments: Sequence[Moment]) -> bytes:
    buffer = io.BytesIO()
    _figure(moments).savefig(buffer, format="png", metadata=SHEET_MARK)
    return buffer.getvalue()


def _frame(moment: Moment) -> Image.Image:
    """Draw one moment as a picture with a palette, as GIF needs it."""
    return Image.open(io.BytesIO(_png([moment]))).convert("RGB").quantize(64)
