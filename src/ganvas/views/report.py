"""`ganvas report`: a run on one page, a single HTML file that loads nothing and runs no code.

This module and report_pictures gather the content; its look is in assets/report/. Jinja escapes
all text from files. The page holds no date: the same run and installation give the same page.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from ganvas.errors import RunError
from ganvas.evaluation.evaluate import evaluate as evaluate_run
from ganvas.evaluation.history import results_of
from ganvas.evaluation.result import (
    ROWS,
    EvaluationResult,
    cell,
    format_score,
    results_during_training,
    shown_scores,
)
from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.system.text import count, printable
from ganvas.version import __version__
from ganvas.views import environment, provenance, report_pictures
from ganvas.views.diagnosis import examine
from ganvas.views.report_pictures import Evaluations
from ganvas.views.run_list import Row, list_runs

# identifies a report, which may be overwritten
MARK = '<meta name="generator" content="ganvas report'
MAX_ROWS = 50  # of a table that grows with the run
# of the environment: what concerns the user's machine alone
PRIVATE_FACTS = ("cache", "GANVAS_DATA", "threads")


def write_report(
    run: Run, out: Path | None = None, *, evaluate: bool = False, data_dir: Path | None = None
) -> Path:
    """Write the report of a run and return its path.

    run: with `run.gan`, the path of the user's own GAN file, if it has one; without it the page
        shows no current samples, and the doctor judges the log alone.
    out: the file, by default report.html in the run's directory.
    evaluate: evaluate the generator first, with the copy check.
    data_dir: the folder of named data sets.

    Raises SettingError for a name that does not end in .html, RunError if `out` is not a report of
    ganvas's, a file of the run is damaged, or the disk refuses.
    """
    out = run.report_file if out is None else out
    files.refuse_ending(out, "the report is HTML", ".html", ".htm")
    if out.is_dir():
        raise RunError(f"{out} is a folder: choose another --out")
    if out.exists():
        with files.reading(out), open(out, "rb") as file:
            if MARK.encode() not in file.read(2000):
                raise RunError(f"{out} exists and is not a ganvas report: choose another --out")
    if evaluate:
        evaluate_run(run, copies=True, data_dir=data_dir)
    # a path in the page need not be valid text
    files.write(out, render(run, data_dir).encode(errors="backslashreplace"))
    return out


def render(run: Run, data_dir: Path | None = None) -> str:
    """Return the page as HTML. Raises RunError for a damaged file of the run.

    data_dir: the folder of named data sets, for the doctor.
    """
    row = list_runs(run.path)[0]
    if row.error:
        raise RunError(row.error)
    css = _asset("report.css")
    jinja = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    evaluations, all_sheets = results_of(run), run.sheets()
    current = run.generator_card().weights_sha256 if run.generator_file.exists() else ""
    evaluate = provenance.evaluate_command(run, data_dir)
    result, notes = _shown_evaluation(current, evaluations, evaluate)
    samples, why_no_samples = report_pictures.current_samples(run)
    return jinja.from_string(_asset("report.html")).render(
        mark=Markup(f'{MARK} {__version__}">'),
        css=Markup(css),
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        title=printable(run.path.resolve().name),
        facts=_facts(run, row, result, evaluations),
        samples=samples,
        why_no_samples=why_no_samples,
        sheets=report_pictures.sheet_pictures(run, all_sheets),
        sheet_count=len(all_sheets),
        losses=report_pictures.loss_charts(run),
        metrics=report_pictures.metric_charts(evaluations),
        evaluations=_evaluation_rows(evaluations),
        evaluated=result is not None,
        notes=notes,
        card=_card_rows(result) if result else [],
        protocol=_protocol(result) if result else {},
        classes=_classes(result) if result else "",
        **_copies(run, current, result, evaluations),
        diagnosis=examine(run, data_dir),
        evaluate=evaluate,
        settings=provenance.compare_settings(run),
        data=provenance.data_facts(run.card),
        real=report_pictures.picture_of(run, "real_images"),
        training=provenance.training_facts(run.card),
        revisions=provenance.plan_revisions(run.card),
        here={k: v for k, v in environment.describe().items() if k not in PRIVATE_FACTS},
        commands=provenance.repeat_commands(run, result, data_dir),
        conditions=provenance.repeat_conditions(run, result),
        recipe_json=provenance.recipe_json(run.card),
    )


def _asset(name: str) -> str:
    return (resources.files("ganvas") / "assets" / "report" / name).read_text(encoding="utf-8")


def _facts(
    run: Run, row: Row, result: EvaluationResult | None, evaluations: Evaluations
) -> dict[str, str]:
    """Return the facts at the top of the page by their names."""
    card, image, seen = run.card, run.card.image, row.images_seen or 0
    images = f"{count(card.data.images, 'image')}, {image.height}x{image.width}x{image.channels}"
    classes = f", {count(len(image.classes), 'class')}" if image.classes else ""
    epochs = f"{seen / card.plan.epoch:.3g} epochs"
    facts = {
        "state": row.progress,
        "recipe": card.recipe,
        "data": f"{card.data.name}: {images}{classes}",
        "images seen": f"{seen:,} of {card.plan.total:,} planned ({epochs})",
        "time": f"{row.minutes or 0:.1f} minutes of training",
    }
    if result is not None and result.fid is not None:
        floor, extractor = format_score(result.floor.fid), result.protocol.extractor
        facts["FID"] = f"{format_score(result.fid)} (floor {floor}), by {extractor}"
    fids = [(r.fid, at) for at, r in results_during_training(evaluations) if r.fid is not None]
    if fids and run.best_file.exists():
        fid, at = min(fids)
        best = f"FID {format_score(fid)} after {at:,} images, in {run.best_file.name}"
        facts["best during training"] = best
    return facts


def _shown_evaluation(
    current: str, evaluations: Evaluations, evaluate: str
) -> tuple[EvaluationResult | None, list[str]]:
    """Choose the evaluation for the report card; return it with the caveats of its scores.

    One of the current generator goes first, then one made after training (with more images), then
    the newest.

    current: hash of the current generator's weights, "" if nothing is saved yet.
    evaluate: the command that evaluates with more images.
    """
    if not evaluations:
        return None, []
    notes = []
    images, result = max(
        reversed(evaluations), key=lambda each: (each[1].weights_sha256 == current, each[0] is None)
    )
    if result.weights_sha256 != current:
        notes.append("the generator was trained further since: these scores are of an earlier one")
    if images is not None:
        seen = f"evaluated during training, at {images:,} images seen and with few images"
        notes.append(f"{seen}; for more, run {evaluate}")
    return result, [*notes, *result.notes]


def _evaluation_rows(evaluations: Evaluations) -> list[list[str]]:
    """Return the newest MAX_ROWS evaluations as rows of a table."""
    return [
        [
            "after training" if images is None else f"{images:,}",
            *(cell(result, name) for name in ("fid", "kid", "precision", "recall")),
            format_score(result.floor.fid),
            f"{result.protocol.n_fake:,}",
            f"{result.protocol.n_real:,}",
            result.protocol.extractor,
        ]
        for images, result in evaluations[-MAX_ROWS:]
    ]


def _card_rows(result: EvaluationResult) -> list[list[str]]:
    """Return the rows of the report card: metric, score, floor, which direction is better."""
    shown = shown_scores(result)
    rows = [
        [title, cell(result, name), format_score(getattr(result.floor, name)), better]
        for name, (title, better) in ROWS.items()
        if name in shown
    ]
    if result.real_accuracy is not None:
        accuracy = format_score(result.real_accuracy)
        rows.append(["label accuracy of the real images", accuracy, "-", "-"])
    if (taught := result.gan_train) is not None:
        title = "GAN-train: accuracy on real images of a classifier trained on"
        title += f" {taught.images:,} generated ones"
        rows.append([title, format_score(taught.fakes), format_score(taught.reals), "higher"])
    return rows


def _classes(result: EvaluationResult) -> str:
    """Return the label accuracy of each class in words, the lowest first."""
    known = [(name, value) for name, value in (result.per_class or {}).items() if value is not None]
    worst = sorted(known, key=lambda each: each[1])[:MAX_ROWS]
    more = f", and {len(known) - len(worst):,} more classes" if len(known) > len(worst) else ""
    return ", ".join(f"{printable(name)}: {value:.1%}" for name, value in worst) + more


def _protocol(result: EvaluationResult) -> dict[str, str]:
    plain = msgspec.to_builtins(result.protocol)
    versions = ", ".join(f"{name} {version}" for name, version in plain.pop("versions").items())
    rows = {
        name: f"{value:,}" if isinstance(value, int) else str(value)
        for name, value in plain.items()
        if value is not None
    }
    return rows | {"seeds": str(result.seeds), "versions": versions}


def _copies(
    run: Run, current: str, result: EvaluationResult | None, evaluations: Evaluations
) -> dict[str, Any]:
    """Return the newest copy check and a picture: its closest pairs, or else the nearest neighbours
    from the end of training."""
    checks = [each for _, each in evaluations if each.copies is not None]
    checked = result if result and result.copies else checks[-1] if checks else None
    copies = checked.copies if checked else None
    # a sheet elsewhere is not the run's: its file is never read
    has_sheet = copies is not None and Path(copies.sheet).name == run.closest_file.name
    pairs = report_pictures.picture_of(run, "copies") if has_sheet else None
    pairs = pairs or report_pictures.picture_of(run, "neighbours")
    stale = checked is not None and checked.weights_sha256 != current
    return {"copies": copies, "copies_stale": stale, "pairs_picture": pairs}
