"""A run on one page: a single HTML file that asks for nothing beside itself and runs no code.

What is shown is gathered here; how, is in page/report.html and page/report.css. Text from files is
escaped by Jinja.
The page is a function of the run and of this installation: without a date, so that the same run
makes the same page.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
import torch
from markupsafe import Markup
from PIL import Image

from ganvas.errors import RunError
from ganvas.evaluation import evaluate as judging
from ganvas.evaluation import history
from ganvas.evaluation import result as verdict
from ganvas.evaluation.result import EvaluationResult
from ganvas.runs.run import Run
from ganvas.sampling import sheets
from ganvas.sampling.sheets import sheet_classes
from ganvas.system import files
from ganvas.system.text import count, first_few, printable
from ganvas.version import __version__
from ganvas.views import environment, provenance, timelapse
from ganvas.views.charts import Curve, chart
from ganvas.views.diagnosis import examine
from ganvas.views.run_list import Row, list_runs

# by which a report is known, and may be written over
MARK = '<meta name="generator" content="ganvas report'
MAX_SHEETS = 6
# of a picture; with base64 and MAX_SHEETS + 3 of them the page stays below 5 MB
MAX_PICTURE_BYTES = 350_000
MAX_PICTURE_SIDE = 960  # pixels of a picture
MAX_ROWS = 50  # of a table that grows with the run
ROW = 10  # images drawn for the top of the page
ELSEWHERE = ("cache", "GANVAS_DATA", "threads")  # of the environment: of this user's machine alone


Evaluations = Sequence[tuple[int | None, EvaluationResult]]  # of `evaluations.all_of`


class PagePicture(NamedTuple):
    """uri: the picture itself, as data. width, height: its pixels, for a page that does not jump."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class Judged:
    """The evaluation that the report shows. place: images seen when it was made, None after
    training."""

    verdict: EvaluationResult
    place: int | None
    stale: bool

    def notes(self, run: Run, data_dir: Path | None) -> list[str]:
        """What the figures rest on, and what they do not."""
        notes = []
        if self.stale:
            notes.append(
                "the generator was trained further since: these figures are of an earlier one"
            )
        if self.place is not None:
            more = provenance.judging(run, data_dir)
            notes.append(
                f"made during training, with few images, at {self.place:,}: for more, {more}"
            )
        return [*notes, *self.verdict.notes]


def write_report(
    run: Run, out: Path | None = None, *, evaluate: bool = False, data_dir: Path | None = None
) -> Path:
    """Write the run's report to `out`, by default report.html in the run's directory, and return
    where it is.

    evaluate: judge the generator first, with the copy check. data_dir: where named data sets lie.
    run.gan: the user's own GAN file, without which neither that nor images of now can be made of
    such a run, and the doctor sees its log alone.
    Raises SettingError for another ending, RunError where something else stands there, a file of
    the run is damaged, or the disk refuses.
    """
    out = run.report_file if out is None else out
    _refuse_foreign(out)
    if evaluate:
        judging.evaluate(run, copies=True, data_dir=data_dir)
    # a path need not be text
    files.write(out, render(run, data_dir).encode(errors="backslashreplace"))
    return out


def _refuse_foreign(out: Path) -> None:
    files.refuse_ending(out, "the report is HTML", ".html", ".htm")
    if out.is_dir():
        raise RunError(f"{out} is a folder: choose another --out")
    if out.exists():
        with files.reading(out), open(out, "rb") as file:
            if MARK.encode() not in file.read(2000):
                raise RunError(f"{out} is there and no report of ganvas's: choose another --out")


def render(run: Run, data_dir: Path | None = None) -> str:
    """The page. data_dir: where named data sets lie, for the doctor. Raises RunError for a damaged
    file of the run."""
    row = list_runs(run.path)[0]
    if row.error:
        raise RunError(row.error)
    css = _page("report.css")
    jinja = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found = history.results_of(run)
    judged, all_sheets = _judged(run, found), run.sheets()
    row_of_now, why = _images_of_now(run)
    return jinja.from_string(_page("report.html")).render(
        mark=Markup(f'{MARK} {__version__}">'),
        css=Markup(css),
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        title=printable(run.path.resolve().name),
        facts=_facts(run, row, judged, found),
        images_of_now=row_of_now,
        why=why,
        sheets=_sheets(run, all_sheets),
        sheet_count=len(all_sheets),
        losses=_losses(run),
        metrics=_metrics(found),
        evaluations=_evaluations(found),
        judged=judged,
        notes=judged.notes(run, data_dir) if judged else [],
        card=_card(judged.verdict) if judged else [],
        protocol=_protocol(judged.verdict) if judged else {},
        classes=_classes(judged.verdict) if judged else "",
        **_copies(run, judged, found),
        diagnosis=examine(run, data_dir),
        evaluate=provenance.judging(run, data_dir),
        settings=provenance.settings_of(run),
        data=provenance.data(run.card),
        real=_picture_of(run, "real_images"),
        training=provenance.training(run.card),
        revisions=provenance.revisions(run.card),
        here={
            name: value for name, value in environment.describe().items() if name not in ELSEWHERE
        },
        commands=provenance.commands(run, judged.verdict if judged else None, data_dir),
        conditions=provenance.conditions(run, judged.verdict if judged else None),
        recipe_json=provenance.recipe_json(run.card),
    )


def _page(name: str) -> str:
    return (resources.files("ganvas") / "assets" / "report" / name).read_text(encoding="utf-8")


def _facts(run: Run, row: Row, judged: Judged | None, found: Evaluations) -> dict[str, str]:
    card, image, seen = run.card, run.card.image, row.images_seen or 0
    classes = f", {count(len(image.classes), 'class')}" if image.classes else ""
    facts = {
        "state": row.progress,
        "recipe": card.recipe,
        "data": (
            f"{card.data.name}: {count(card.data.images, 'image')},"
            f" {image.height}x{image.width}x{image.channels}{classes}"
        ),
        "images seen": (
            f"{seen:,} of {card.plan.total:,} planned ({seen / card.plan.epoch:.3g} epochs)"
        ),
        "time": f"{row.minutes or 0:.1f} minutes of training",
    }
    if judged is not None and judged.verdict.fid is not None:
        floor = verdict.format_score(judged.verdict.floor.fid)
        facts["FID"] = (
            f"{verdict.format_score(judged.verdict.fid)} (floor {floor}), by"
            f" {judged.verdict.protocol.extractor}"
        )
    if run.best_file.exists() and (best := _best(found)):
        facts["best of training"] = (
            f"FID {verdict.format_score(best[0])} after {best[1]:,} images, in {run.best_file.name}"
        )
    return facts


def _best(found: Evaluations) -> tuple[float, int] | None:
    """The least FID of the evaluations made during training under the newest protocol, and the
    images seen until then."""
    return min(
        (
            (each.fid, place)
            for place, each in verdict.results_during_training(found)
            if each.fid is not None
        ),
        default=None,
    )


def _images_of_now(run: Run) -> tuple[PagePicture | None, str]:
    """A row of images of the generator as it is, one a class where there are classes; or why there
    is none."""
    if not run.generator_file.exists():
        return None, "There is no generator yet: nothing has been saved."
    if run.card.gan.endswith(".py") and run.gan is None:
        return (
            None,
            (
                f"The networks are in a file of the user's, {run.card.gan}: add --gan to have"
                " images drawn here."
            ),
        )
    sampler = run.sampler()
    if not all(bool(torch.isfinite(t).all()) for t in sampler.gan.generator.state_dict().values()):
        return None, "The generator's weights are no longer finite: there is nothing to draw."
    labels = (
        sheet_classes(min(ROW, len(sampler.classes)), len(sampler.classes))
        if sampler.classes
        else None
    )
    n = len(labels) if labels else ROW
    images = sampler(range(n), seed=run.card.seed, labels=labels).numpy()
    row = sheets.grid(images, n, gap=2, scale=sheets.viewing_scale(*images.shape[1:3]))
    of = f" of the classes {first_few(sampler.classes[k] for k in labels)}" if labels else ""
    return (
        _embedded(
            sheets.picture(row), f"{count(n, 'generated image')}{of}", f"Seed {run.card.seed}{of}"
        ),
        "",
    )


def _embedded(image: Image.Image, alt: str, caption: str) -> PagePicture:
    """A picture of at most MOST_BYTES: PNG where that is small enough, else JPEG, as small as it
    takes."""
    image, side, kind = timelapse.opaque(image), MAX_PICTURE_SIDE, "PNG"
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=85)
        if buffer.tell() <= MAX_PICTURE_BYTES:
            uri = f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
            return PagePicture(uri, *image.size, alt, caption)
        side, kind = side if kind == "PNG" else int(0.8 * max(image.size)), "JPEG"


def _sheets(run: Run, found: Sequence[tuple[int, Path]]) -> list[PagePicture]:
    """Some of the sheets, evenly, with the first and the last."""
    pictures = []
    for images, path in timelapse.spread(list(found), min(MAX_SHEETS, len(found))) if found else []:
        caption = f"{images:,} images, epoch {images / run.card.plan.epoch:.3g}"
        pictures.append(
            _embedded(timelapse.open_sheet(path, load=True), f"Samples after {caption}", caption)
        )
    return pictures


PICTURE_FILES = {
    "real_images": "Some of the training images",
    "neighbours": (
        "Left of each pair a generated image, right the training image nearest to it in pixels"
    ),
    "copies": "The closest pairs: left generated, right the nearest training image",
}


def _picture_of(run: Run, name: str) -> PagePicture | None:
    path = run.pictures.get(name)
    return (
        _embedded(timelapse.open_sheet(path, load=True), PICTURE_FILES[name], PICTURE_FILES[name])
        if path
        else None
    )


def _losses(run: Run) -> list[tuple[str, str]]:
    """(title, SVG) of what the log holds."""
    log = run.read_log()
    images = [line["images"] for line in log]

    def curves(**names: str) -> list[Curve]:
        return [
            Curve(title.replace("_", " "), images, [line[name] for line in log])
            for title, name in names.items()
        ]

    charts = {
        "Losses": curves(D_loss="d_loss", G_loss="g_loss"),
        "D's mean scores": curves(real_images="d_real", generated_images="d_fake"),
        "How often D is right": curves(D_accuracy="d_accuracy"),
    }
    seen = [line for line in log if "diversity" in line]  # the lines with a checkup
    diversity = Curve(
        "samples", [line["images"] for line in seen], [line["diversity"] for line in seen]
    )
    charts["How much two samples differ (1: as two real images)"] = [diversity]
    drawn = [(title, chart(each, "images seen")) for title, each in charts.items()]
    return [(title, Markup(svg)) for title, svg in drawn if svg]


def _metrics(found: Evaluations) -> list[tuple[str, str]]:
    """(title, SVG) of the evaluations made during training, under the newest of their protocols."""
    alike = verdict.results_during_training(found)
    images = [place for place, _ in alike]

    def curve(name: str, title: str, floor: bool = False) -> Curve:
        sides = [found.floor if floor else found for _, found in alike]
        return Curve(title, images, [getattr(side, name) for side in sides])

    charts = {
        "FID": chart(
            [curve("fid", "generated"), curve("fid", "floor", True)], "images seen", log=True
        ),
        "Precision, recall and coverage": chart(
            [curve(name, name) for name in ("precision", "recall", "coverage")], "images seen"
        ),
    }
    left_out = sum(place is not None for place, _ in found) - len(alike)
    more = f" ({left_out} under other protocols are not drawn)" if left_out else ""
    return [(title + more, Markup(svg)) for title, svg in charts.items() if svg]


def _judged(run: Run, found: Evaluations) -> Judged | None:
    """Of all evaluations one of the generator as it is, one made after training and with more
    images, the newest, in this order."""
    if not found:
        return None
    now = _weights(run)

    def rank(k: int) -> tuple[bool, bool, int]:
        place, each = found[k]
        return each.weights_sha256 == now, place is None, k

    place, best = found[max(range(len(found)), key=rank)]
    return Judged(best, place, best.weights_sha256 != now)


def _weights(run: Run) -> str:
    """The hash of the generator as it is, "" where there is none."""
    return run.generator_card().weights_sha256 if run.generator_file.exists() else ""


def _evaluations(found: Evaluations) -> list[list[str]]:
    """The newest MOST_ROWS evaluations as rows of a table."""
    return [
        [
            "after training" if place is None else f"{place:,}",
            *(verdict.cell(each, name) for name in ("fid", "kid", "precision", "recall")),
            verdict.format_score(each.floor.fid),
            f"{each.protocol.n_fake:,}",
            f"{each.protocol.n_real:,}",
            each.protocol.extractor,
        ]
        for place, each in found[-MAX_ROWS:]
    ]


def _card(found: EvaluationResult) -> list[list[str]]:
    """Rows of the report card: title, judged, floor, which is better."""
    rows = [
        [title, verdict.cell(found, name), verdict.format_score(getattr(found.floor, name)), better]
        for name, (title, better) in verdict.ROWS.items()
        if name in verdict.shown_scores(found)
    ]
    if found.real_accuracy is not None:
        rows.append(
            [
                "label accuracy of the real images",
                verdict.format_score(found.real_accuracy),
                "-",
                "-",
            ]
        )
    if (taught := found.gan_train) is not None:
        title = (
            f"GAN-train: accuracy on real images of a classifier trained on {taught.images:,}"
            " generated ones"
        )
        rows.append(
            [
                title,
                verdict.format_score(taught.fakes),
                verdict.format_score(taught.reals),
                "higher",
            ]
        )
    return rows


def _classes(found: EvaluationResult) -> str:
    """Label accuracy of the classes, the worst first."""
    known = [(name, value) for name, value in (found.per_class or {}).items() if value is not None]
    worst = sorted(known, key=lambda each: each[1])[:MAX_ROWS]
    more = f", and {len(known) - len(worst):,} more classes" if len(known) > len(worst) else ""
    return ", ".join(f"{printable(name)}: {value:.1%}" for name, value in worst) + more


def _protocol(found: EvaluationResult) -> dict[str, str]:
    plain = msgspec.to_builtins(found.protocol)
    versions = ", ".join(f"{name} {version}" for name, version in plain.pop("versions").items())
    rows = {
        name: f"{value:,}" if isinstance(value, int) else str(value)
        for name, value in plain.items()
        if value is not None
    }
    return rows | {"seeds": str(found.seeds), "versions": versions}


def _copies(run: Run, judged: Judged | None, found: Evaluations) -> dict[str, Any]:
    """The newest copy check, its sheet where that is the run's own, and else what training left to
    look at."""
    checks = [each for _, each in found if each.copies is not None]
    checked = judged.verdict if judged and judged.verdict.copies else checks[-1] if checks else None
    copies = checked.copies if checked else None
    own = copies is not None and Path(copies.sheet).name == run.closest_file.name
    pairs = (_picture_of(run, "copies") if own else None) or _picture_of(run, "neighbours")
    stale = checked is not None and checked.weights_sha256 != _weights(run)
    return {"copies": copies, "copies_stale": stale, "pairs_picture": pairs}
