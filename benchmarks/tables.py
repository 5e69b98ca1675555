"""The tables of docs/figures.md and docs/pictures.md, from results. A dash: not measured yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cells import (
    DIVERSITY_AIM,
    EXTRACTORS,
    FLAGSHIP_AIMS,
    MODES_AIM,
    RECALL_OF_FLOOR_AIM,
    REVERSE_KL_AIM,
    SYSTEMS,
    TABLES,
    Aim,
    flagship,
    plain_name,
)
from formats import (
    NOTHING,
    machines_line,
    markdown_table,
    median,
    number,
    part,
    percent,
    protocol_line,
    wall_time,
    whole,
    yes,
)
from ganvas.errors import RunError
from result import Result, of_table
from sets import picture_tables

Results = dict[str, Result]  # by the names of their cells
DOCUMENTS = {
    "figures.md": [name for name in TABLES if name != "picture-sets"],
    "pictures.md": ["picture-sets"],
}


def render(document: str, names: Iterable[str], results: Path) -> str:
    """Return the document with each table rendered anew between its two comments.

    names: of its tables.
    results: the folder of results.
    Raises RunError if a comment is missing.
    """
    for name in names:
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        if (
            document.count(begin) != 1
            or document.count(end) != 1
            or document.index(begin) > document.index(end)
        ):
            raise RunError(
                f"the document of the tables lacks a line {begin.strip()} and, below it, a line"
                f" {end.strip()}: restore both"
            )
        before, rest = document.split(begin)
        after = rest.split(end)[1]
        document = f"{before}{begin}\n{table(name, of_table(name, results))}\n\n{end}{after}"
    return document


def table(name: str, results: Results) -> str:
    """Return one table with its protocol, notes and machine below it.

    name: as on the command line.
    """
    if not results:
        return NOTHING
    text = {
        "flagship": _flagship,
        "sources": _sources,
        "recipes": _recipes,
        "modes": _modes,
        "pictures": _pictures,
        "picture-sets": picture_tables.picture_sets_table,
    }[name](results)
    notes = [f"`{each.cell}`: {each.note}." for each in results.values() if each.note]
    return "\n\n".join([text, *notes, machines_line(results.values())])


def _flagship(results: Results) -> str:
    rows = []
    for (data, minutes), aim in FLAGSHIP_AIMS.items():
        prefix = f"{data}-{minutes}min-"
        cells = [c for c in flagship() if c.data == data and c.name.startswith(prefix)]
        runs = [results[cell.name] for cell in cells if cell.name in results]
        accuracy = median(run.score("label_accuracy") for run in runs)
        ratio = median(run.over_floor("fid") for run in runs)
        recall = median(run.score("recall") for run in runs)
        met = sum(not _missed_aims(aim, *_aimed_scores(run)) for run in runs)
        rows.append(
            [
                f"`{data}`",
                str(minutes),
                f"{len(runs)} of {len(cells)}",
                whole(median(run.images_seen for run in runs)),
                f"{percent(accuracy)} ({percent(aim.accuracy, 1)})",
                number(median(run.score("fid") for run in runs)),
                f"{number(ratio)} ({aim.ratio:g})",
                f"{part(recall)} ({aim.recall:.2f})",
                part(median(run.floor("recall") for run in runs)),
                _aims_met(aim, accuracy, ratio, recall),
                f"{met} of {len(runs)}" if runs else "-",
            ]
        )
    headings = [
        "data", "minutes", "seeds", "images seen", "label accuracy (aim)", "FID",
        "FID / floor (at most)", "recall (aim)", "recall of the floor", "aims met by the medians",
        "runs that meet all aims",
    ]  # fmt: skip
    return f"{markdown_table(headings, rows, left=1)}\n\n{protocol_line(list(results.values()))}"


def _aimed_scores(result: Result) -> tuple[float | None, float | None, float | None]:
    return result.score("label_accuracy"), result.over_floor("fid"), result.score("recall")


def _missed_aims(
    aim: Aim, accuracy: float | None, ratio: float | None, recall: float | None
) -> list[str]:
    """The names of the scores that miss their aim."""
    return [
        name
        for name, met in (
            ("label accuracy", accuracy is not None and accuracy >= aim.accuracy),
            ("FID / floor", ratio is not None and ratio <= aim.ratio),
            ("recall", recall is not None and recall >= aim.recall),
        )
        if not met
    ]


def _aims_met(aim: Aim, accuracy: float | None, ratio: float | None, recall: float | None) -> str:
    if accuracy is None:
        return "-"
    missed = _missed_aims(aim, accuracy, ratio, recall)
    return f"all but {', '.join(missed)}" if missed else "all"


def _sources(results: Results) -> str:
    rows = []
    for recipe, system in SYSTEMS.items():
        name = plain_name(recipe)
        theirs, ours = results.get(name), results.get(f"r3gan-for-{name}")
        row = [f"`{recipe}`" + _with(system.settings), str(system.schedule), *["-"] * 8, "-"]
        if theirs is not None and theirs.plain is not None:
            row[2:6] = [
                whole(theirs.plain.rate),
                wall_time(theirs.plain_seconds),
                *_quality(theirs),
            ]
        if ours is not None:
            row[6:9] = [wall_time(ours.seconds), *_quality(ours)]
        if theirs is not None and ours is not None:
            speedup = theirs.plain_seconds / ours.seconds
            row[9:] = [
                f"{speedup:.1f} ({1 / system.part:g})",
                yes(better(theirs, ours) and speedup >= 1 / system.part),
            ]
        rows.append(row)
    headings = [
        "system", "its schedule", "plain loop, images/s", "plain loop, time", "its FID",
        "its label accuracy", "`r3gan/digits`, time", "FID", "label accuracy",
        "times as fast (at least)", "better in that time",
    ]  # fmt: skip
    return f"{markdown_table(headings, rows, left=2)}\n\n{protocol_line(list(results.values()))}"


def better(theirs: Result, ours: Result) -> bool:
    """Return True if `ours` has the lower FID and the higher label accuracy.

    A score that `theirs` does not have is not compared.
    """

    def is_above(name: str, sign: int) -> bool:
        their, our = theirs.score(name), ours.score(name)
        return their is None or (our is not None and sign * our > sign * their)

    return is_above("fid", -1) and is_above("label_accuracy", 1)


def _recipes(results: Results) -> str:
    parts = []
    for data in EXTRACTORS:
        runs = [result for result in results.values() if result.data == data]
        runs.sort(key=lambda result: (result.score("fid") is None, result.score("fid")))
        if not runs:
            parts.append(f"**{data}**: {NOTHING.lower()}")
            continue
        rows = [
            [
                f"`{run.recipe}`" + _with(run.settings),
                number(run.score("fid")),
                number(run.over_floor("fid")),
                number(run.score("kid")),
                *(part(run.score(name)) for name in ("precision", "recall", "coverage")),
                percent(run.score("label_accuracy")),
                whole(run.images_seen),
                wall_time(run.seconds),
                whole(run.peak_rss_mb),
                str(run.threads),
            ]
            for run in runs
        ]
        first = runs[0]
        floor = ["real training images", number(first.floor("fid")), "1"]
        floor.append(number(first.floor("kid")))
        floor += [part(first.floor(name)) for name in ("precision", "recall", "coverage")]
        rows.append([*floor, percent(first.floor("label_accuracy")), "", "", "", ""])
        headings = [
            f"recipe, on `{data}`", "FID", "FID / floor", "KID", "precision", "recall", "coverage",
            "label accuracy", "images seen", "time", "peak MB", "threads",
        ]  # fmt: skip
        parts.append(f"{markdown_table(headings, rows, left=1)}\n\n{protocol_line(runs)}")
    return "\n\n".join(parts)


def _modes(results: Results) -> str:
    (result,) = results.values()
    modes, kl = result.score("modes"), result.score("reverse_kl")
    rows = [
        [
            f"modes of 1,000, in {result.evaluation['protocol']['n_modes']:,} samples",
            whole(modes),
            whole(result.floor("modes")),
            f"{MODES_AIM:,}",
            yes(modes is not None and modes >= MODES_AIM),
        ],
        [
            "reverse KL",
            part(kl),
            part(result.floor("reverse_kl")),
            f"at most {REVERSE_KL_AIM:g}",
            yes(kl is not None and kl <= REVERSE_KL_AIM),
        ],
        ["FID", number(result.score("fid")), number(result.floor("fid")), "", ""],
        ["recall", part(result.score("recall")), part(result.floor("recall")), "", ""],
    ]
    headings = ["", f"`{result.recipe}`", "perfect sampler or floor", "aim", "met"]
    return _single(result, headings, rows)


def _pictures(results: Results) -> str:
    (result,) = results.values()
    recall, floor, diversity = result.score("recall"), result.floor("recall"), result.diversity
    copies = result.evaluation["copies"]
    enough = None if floor is None else RECALL_OF_FLOOR_AIM * floor
    ratio = "-"
    if copies["ratio"] is not None:
        ratio = f"{copies['ratio']:.3f} ± {copies['spread'] or 0:.3f}"
    rows = [
        [
            "diversity (held-out pictures: 1)",
            part(diversity),
            f"at least {DIVERSITY_AIM:g}",
            yes(diversity is not None and diversity >= DIVERSITY_AIM),
        ],
        [
            "recall",
            part(recall),
            f"at least {part(enough)}, half of the floor",
            yes(recall is not None and enough is not None and recall >= enough),
        ],
        [
            "copy check",
            copies["verdict"],
            "not a copier",
            yes(copies["verdict"] == "not a copier"),
        ],
        ["distance to nearest training / held-out picture (1 without copies)", ratio, "", ""],
        [
            "copies among samples; among held-out pictures",
            f"{percent(copies['share'], 1)}; {percent(copies['share_held_out'], 1)}",
            "",
            "",
        ],
        ["FID; floor", f"{number(result.score('fid'))}; {number(result.floor('fid'))}", "", ""],
    ]
    return _single(result, ["", f"`{result.recipe}`", "aim", "met"], rows)


def _single(result: Result, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table of one result, with its cost and protocol."""
    cost = f"{wall_time(result.seconds)}, {result.images_seen:,} images seen."
    return "\n\n".join([markdown_table(headings, rows, left=1), cost, protocol_line([result])])


def _with(settings: Sequence[str]) -> str:
    return f" ({', '.join(settings)})" if settings else ""


def _quality(result: Result) -> list[str]:
    return [number(result.score("fid")), percent(result.score("label_accuracy"))]
