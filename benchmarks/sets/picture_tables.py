"""The tables of docs/pictures.md: one for each picture set, with its sheets below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cells import (
    FORMER_RECIPE,
    PICTURE_AIMS,
    PICTURE_MINUTES,
    PICTURES,
    PICTURES_RECIPE,
    RIVAL,
    PictureAim,
    picture_cells,
    picture_systems,
)
from formats import NOTHING, markdown_table, median, number, part, percent, protocol_line, whole
from picture_sets import SETS
from result import Result

TITLES = {
    RIVAL + "dcgan": "DCGAN",
    RIVAL + "fastgan": "FastGAN",
    RIVAL + "projected": "Projected GAN",
}
SHEETS = "images/pictures"  # seen from the document
NO_COPIER = "not a copier"
RATIO = f"KID / `{FORMER_RECIPE}` (at most)"
HEADINGS = [
    "minutes", "system", "seeds", "images seen", "KID x 1000", RATIO, "recall (at least)",
    "copy check", "label accuracy (at least)", "aims met",
]  # fmt: skip


@dataclass(frozen=True)
class Medians:
    """Medians over the runs of a system; None where a score is missing.

    ratio: KID / that of FORMER_RECIPE after the same time.
    floor: recall of real training images.
    verdicts: the copy check's, each with its number of runs; empty if it was not made.
    """

    kid: float | None
    ratio: float | None
    recall: float | None
    floor: float | None
    accuracy: float | None
    verdicts: dict[str, int]

    @classmethod
    def of(cls, runs: Sequence[Result], former: Sequence[Result]) -> Medians:
        kid, theirs = (median(run.score("kid") for run in each) for each in (runs, former))
        copies = [run.evaluation["copies"] for run in runs]
        return cls(
            kid=kid,
            # an unbiased estimate of 0 may lie below it, where a ratio means nothing
            ratio=kid / theirs if kid is not None and theirs is not None and theirs > 0 else None,
            recall=median(run.score("recall") for run in runs),
            floor=median(run.floor("recall") for run in runs),
            accuracy=median(run.score("label_accuracy") for run in runs),
            verdicts=Counter(each["verdict"] for each in copies if each),
        )

    def least_recall(self, aim: PictureAim) -> float | None:
        if aim.recall_of_floor is not None and self.floor is not None:
            return aim.recall_of_floor * self.floor
        return aim.recall

    def aims_met(self, aim: PictureAim) -> str:
        """The aims that are met, in words; "-" if a score is missing, "" without aims."""
        aimed = {
            "KID": (self.ratio, aim.kid, -1),
            "recall": (self.recall, self.least_recall(aim), 1),
            "label accuracy": (self.accuracy, aim.accuracy, 1),
        }
        aimed = {name: each for name, each in aimed.items() if each[1] is not None}
        if self.verdicts and aim.no_copier:
            aimed["copy check"] = (self.verdicts.get(NO_COPIER, 0), sum(self.verdicts.values()), 1)
        if any(score is None for score, _, _ in aimed.values()):
            return "-"
        missed = [
            name for name, (score, limit, sign) in aimed.items() if sign * (score - limit) < 0
        ]
        return f"all but {', '.join(missed)}" if missed else "all" * bool(aimed)


def picture_sets_table(results: dict[str, Result]) -> str:
    """A section for each picture set. results: by the names of their cells."""
    return "\n\n".join(f"### {data}\n\n{_section(data, results)}" for data in PICTURES)


def _section(data: str, results: dict[str, Result]) -> str:
    measured = [each for each in results.values() if each.data == data]
    if not measured:
        return NOTHING
    rows = [_row(data, recipe, minutes, results) for recipe, minutes in picture_systems(data)]
    rows.append(_floor(measured[0]))
    shown = [heading for heading in HEADINGS if any(row.get(heading) for row in rows)]
    table = markdown_table(shown, [[row.get(each, "") for each in shown] for row in rows], left=2)
    notes = [protocol_line(measured)]
    if (accuracy := measured[0].evaluation.get("real_accuracy")) is not None:
        notes.append(
            f"The classifier names {percent(accuracy)} of the held-out pictures correctly."
        )
    return "\n\n".join([table, " ".join(notes), _sheets(data, measured)])


def _runs(data: str, recipe: str, minutes: int, results: dict[str, Result]) -> list[Result]:
    cells = picture_cells(data, recipe, minutes)
    return [results[cell.name] for cell in cells if cell.name in results]


def _row(data: str, recipe: str, minutes: int, results: dict[str, Result]) -> dict[str, str]:
    """A system's row of a table, by its headings."""
    runs = _runs(data, recipe, minutes, results)
    medians = Medians.of(runs, _runs(data, FORMER_RECIPE, minutes, results))
    aim = PICTURE_AIMS.get((data, minutes)) if recipe == PICTURES_RECIPE else None
    aim = aim or PictureAim()
    row = {
        "minutes": str(minutes),
        "system": _title(recipe),
        "seeds": f"{len(runs)} of {len(list(picture_cells(data, recipe, minutes)))}",
        "images seen": whole(median(run.images_seen for run in runs)),
        "KID x 1000": _thousandfold(medians.kid),
        RATIO: _with_aim(number(medians.ratio), number(aim.kid)),
        "recall (at least)": _with_aim(part(medians.recall), part(medians.least_recall(aim))),
        "aims met": medians.aims_met(aim),
    }
    if PICTURES[data].copies:
        row["copy check"] = _verdict(medians.verdicts) or "-"
    if PICTURES[data].extractor is None:  # the default one knows the classes
        accuracy = _with_aim(percent(medians.accuracy), percent(aim.accuracy, 0))
        row["label accuracy (at least)"] = accuracy
    return row


def _floor(result: Result) -> dict[str, str]:
    """The row of real training images."""
    row = {
        "system": "real training images",
        "KID x 1000": _thousandfold(result.floor("kid")),
        "recall (at least)": part(result.floor("recall")),
    }
    if PICTURES[result.data].extractor is None:
        row["label accuracy (at least)"] = percent(result.floor("label_accuracy"))
    return row


def _sheets(data: str, measured: Sequence[Result]) -> str:
    """A table of the sheets, a row for each system and a column for each time."""
    if SETS[data].measuring:
        return "These pictures are for measuring alone: no samples are shown."
    files = {each.sheet for each in measured if each.sheet}
    rows: dict[str, list[str]] = {}
    for recipe, minutes in picture_systems(data):
        (sheet, *_) = (cell.sheet for cell in picture_cells(data, recipe, minutes))
        text = f"{data}, {_title(recipe).strip('`')}, {minutes} minutes"
        image = f"![{text}]({SHEETS}/{sheet})" if sheet in files else "-"
        rows.setdefault(_title(recipe), []).append(image)
    headings = ["samples of", *(f"{minutes} minutes" for minutes in PICTURE_MINUTES)]
    shown = [[title, *images] for title, images in rows.items() if set(images) != {"-"}]
    return markdown_table(headings, shown, left=3) if shown else "No samples yet."


def _title(recipe: str) -> str:
    return TITLES.get(recipe, f"`{recipe}`")


def _verdict(verdicts: dict[str, int]) -> str:
    """The copy check's verdict, or verdicts with their numbers where runs differ."""
    if len(verdicts) < 2:
        return "".join(verdicts)
    return ", ".join(f"{verdict}: {count}" for verdict, count in sorted(verdicts.items()))


def _thousandfold(score: float | None) -> str:
    return number(None if score is None else 1000 * score)


def _with_aim(score: str, aim: str) -> str:
    return score if aim == "-" else f"{score} ({aim})"
