"""Pictures of the report, each embedded in the page as a data URI: samples, sheets and charts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from ganvas.evaluation.result import EvaluationResult, results_during_training
from ganvas.runs.run import Run
from ganvas.sampling import sheets
from ganvas.system.text import count, first_few
from ganvas.views import timelapse
from ganvas.views.charts import CHART_SIZE, Curve, chart, in_words

MAX_SHEETS = 6
# of a picture; with base64 and MAX_SHEETS + 3 of them the page stays below 5 MB
MAX_PICTURE_BYTES = 350_000
MAX_PICTURE_SIDE = 960  # pixels
ROW = 10  # images drawn for the top of the page
PICTURE_FILES = {
    "real_images": "Some of the training images",
    "neighbours": "Left of each pair a generated image, right the training image nearest in pixels",
    "copies": "The closest pairs: left generated, right the nearest training image",
}

# evaluations with the images seen when they were made, None after training
Evaluations = Sequence[tuple[int | None, EvaluationResult]]


class PagePicture(NamedTuple):
    """A picture of the page.

    uri: the picture itself as a data URI.
    width, height: pixels, so that the browser can lay out the page at once.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str


def current_samples(run: Run) -> tuple[PagePicture | None, str]:
    """Draw a row of images with the current generator, one a class where it knows classes.

    Returns the row, or None and the reason why it cannot be drawn.
    """
    if not run.generator_file.exists():
        return None, "No generator has been saved yet."
    if run.card.gan.endswith(".py") and run.gan is None:
        return None, f"The networks are in your own file {run.card.gan}: add --gan to draw images."
    sampler = run.sampler()
    if not all(bool(torch.isfinite(t).all()) for t in sampler.gan.generator.state_dict().values()):
        return None, "The generator's weights are no longer finite, so it cannot draw images."
    classes = len(sampler.classes)
    labels = sheets.sheet_classes(min(ROW, classes), classes) if classes else None
    columns = len(labels) if labels else ROW
    images = sampler(range(columns), seed=run.card.seed, labels=labels).numpy()
    row = sheets.grid(images, columns, gap=2, scale=sheets.viewing_scale(*images.shape[1:3]))
    of = f" of the classes {first_few(sampler.classes[k] for k in labels)}" if labels else ""
    alt = f"{count(columns, 'generated image')}{of}"
    return _embedded(sheets.picture(row), alt, f"Seed {run.card.seed}{of}"), ""


def sheet_pictures(run: Run, found: list[tuple[int, Path]]) -> list[PagePicture]:
    """Embed up to MAX_SHEETS of a run's sheets, evenly spaced, with the first and the last."""
    pictures = []
    for images, path in timelapse.spread(found, MAX_SHEETS):
        caption = f"{images:,} images, epoch {images / run.card.plan.epoch:.3g}"
        sheet = timelapse.open_sheet(path, load=True)
        pictures.append(_embedded(sheet, f"Samples after {caption}", caption))
    return pictures


def picture_of(run: Run, name: str) -> PagePicture | None:
    """Embed one of PICTURE_FILES; None if the run does not have it."""
    if (path := run.pictures.get(name)) is None:
        return None
    title = PICTURE_FILES[name]
    return _embedded(timelapse.open_sheet(path, load=True), title, title)


def loss_charts(run: Run) -> list[PagePicture]:
    """Draw the losses, scores and checkups of a run's log."""
    log = run.read_log()

    def curve(title: str, name: str) -> Curve:
        lines = [line for line in log if name in line]
        return Curve(title, [line["images"] for line in lines], [line[name] for line in lines])

    charts = {
        "Losses": [curve("D loss", "d_loss"), curve("G loss", "g_loss")],
        "D's mean scores": [curve("real images", "d_real"), curve("generated images", "d_fake")],
        "D's accuracy": [curve("D accuracy", "d_accuracy")],
        "Distance of two samples (1: as of two real images)": [curve("samples", "diversity")],
    }
    return _charts(charts)


def metric_charts(evaluations: Evaluations) -> list[PagePicture]:
    """Draw the evaluations made during training under the newest of their protocols."""
    comparable = results_during_training(evaluations)
    places = [images for images, _ in comparable]

    def curve(title: str, name: str) -> Curve:
        return Curve(title, places, [getattr(result, name) for _, result in comparable])

    floor = Curve("floor", places, [result.floor.fid for _, result in comparable])
    left_out = sum(images is not None for images, _ in evaluations) - len(comparable)
    more = f" ({left_out} under other protocols are not drawn)" if left_out else ""
    shares = [curve(name, name) for name in ("precision", "recall", "coverage")]
    fid = _charts({f"FID{more}": [curve("generated", "fid"), floor]}, log=True)
    return fid + _charts({f"Precision, recall and coverage{more}": shares})


def _charts(charts: dict[str, list[Curve]], *, log: bool = False) -> list[PagePicture]:
    """Embed charts, given by their titles; those without any value are left out."""
    return [
        PagePicture(_uri(svg, "svg+xml"), *CHART_SIZE, in_words(curves, "images seen"), title)
        for title, curves in charts.items()
        if (svg := chart(curves, "images seen", log=log))
    ]


def _embedded(image: Image.Image, alt: str, caption: str) -> PagePicture:
    """Embed a picture of at most MAX_PICTURE_BYTES: PNG if that is small enough, else JPEG, made
    smaller until it fits."""
    image, side, kind = timelapse.opaque(image), MAX_PICTURE_SIDE, "PNG"
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=85)
        if buffer.tell() <= MAX_PICTURE_BYTES:
            uri = _uri(buffer.getvalue(), kind.lower())
            return PagePicture(uri, *image.size, alt, caption)
        side, kind = side if kind == "PNG" else int(0.8 * max(image.size)), "JPEG"


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
