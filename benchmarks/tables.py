"""The tables of docs/figures.md as Markdown, from results. A dash is a score not measured yet."""

from __future__ import annotations

import statistics
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
from ganvas.errors import RunError
from ganvas.system.text import count
from result import Result, of_table, protocol

Results = dict[str, Result]  # by the names of their cells
NOTHING = "Not measured yet."


def render(document: str, results: Path) -> str:
    """Return the document with each table rendered anew between its two comments.

    results: the folder of results. Raises RunError if a comment is missing.
    """
    for name in TABLES:
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
    }[name](results)
    notes = [f"`{each.cell}`: {each.note}." for each in results.values() if each.note]
    return "\n\n".join([text, *notes, _machines(results.values())])


def _flagship(results: Results) -> str:
    rows = []
    for (data, minutes), aim in FLAGSHIP_AIMS.items():
        prefix = f"{data}-{minutes}min-"
        cells = [c for c in flagship() if c.data == data and c.name.startswith(prefix)]
        runs = [results[cell.name] for cell in cells if cell.name in results]
        accuracy = _median(run.score("label_accuracy") for run in runs)
        ratio = _median(run.over_floor("fid") for run in runs)
        recall = _median(run.score("recall") for run in runs)
        met = sum(not _missed_aims(aim, *_aimed_scores(run)) for run in runs)
        rows.append(
            [
                f"`{data}`",
                str(minutes),
                f"{len(runs)} of {len(cells)}",
                _whole(_median(run.images_seen for run in runs)),
                f"{_percent(accuracy)} ({_percent(aim.accuracy, 1)})",
                _number(_median(run.score("fid") for run in runs)),
                f"{_number(ratio)} ({aim.ratio:g})",
                f"{_part(recall)} ({aim.recall:.2f})",
                _part(_median(run.floor("recall") for run in runs)),
                _aims_met(aim, accuracy, ratio, recall),
                f"{met} of {len(runs)}" if runs else "-",
            ]
        )
    headings = [
        "data", "minutes", "seeds", "images seen", "label accuracy (aim)", "FID",
        "FID / floor (at most)", "recall (aim)", "recall of the floor", "aims met by the medians",
        "runs that meet all aims",
    ]  # fmt: skip
    return f"{_markdown(headings, rows, left=1)}\n\n{_protocol(list(results.values()))}"


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
            row[2:6] = [_whole(theirs.plain.rate), _time(theirs.plain_seconds), *_quality(theirs)]
        if ours is not None:
            row[6:9] = [_time(ours.seconds), *_quality(ours)]
        if theirs is not None and ours is not None:
            speedup = theirs.plain_seconds / ours.seconds
            row[9:] = [
                f"{speedup:.1f} ({1 / system.part:g})",
                _yes(better(theirs, ours) and speedup >= 1 / system.part),
            ]
        rows.append(row)
    headings = [
        "system", "its schedule", "plain loop, images/s", "plain loop, time", "its FID",
        "its label accuracy", "`r3gan/digits`, time", "FID", "label accuracy",
        "times as fast (at least)", "better in that time",
    ]  # fmt: skip
    return f"{_markdown(headings, rows, left=2)}\n\n{_protocol(list(results.values()))}"


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
                _number(run.score("fid")),
                _number(run.over_floor("fid")),
                _number(run.score("kid")),
                *(_part(run.score(name)) for name in ("precision", "recall", "coverage")),
                _percent(run.score("label_accuracy")),
                _whole(run.images_seen),
                _time(run.seconds),
                _whole(run.peak_rss_mb),
                str(run.threads),
            ]
            for run in runs
        ]
        first = runs[0]
        floor = ["real training images", _number(first.floor("fid")), "1"]
        floor.append(_number(first.floor("kid")))
        floor += [_part(first.floor(name)) for name in ("precision", "recall", "coverage")]
        rows.append([*floor, _percent(first.floor("label_accuracy")), "", "", "", ""])
        headings = [
            f"recipe, on `{data}`", "FID", "FID / floor", "KID", "precision", "recall", "coverage",
            "label accuracy", "images seen", "time", "peak MB", "threads",
        ]  # fmt: skip
        parts.append(f"{_markdown(headings, rows, left=1)}\n\n{_protocol(runs)}")
    return "\n\n".join(parts)


def _modes(results: Results) -> str:
    (result,) = results.values()
    modes, kl = result.score("modes"), result.score("reverse_kl")
    rows = [
        [
            f"modes of 1,000, in {result.evaluation['protocol']['n_modes']:,} samples",
            _whole(modes),
            _whole(result.floor("modes")),
            f"{MODES_AIM:,}",
            _yes(modes is not None and modes >= MODES_AIM),
        ],
        [
            "reverse KL",
            _part(kl),
            _part(result.floor("reverse_kl")),
            f"at most {REVERSE_KL_AIM:g}",
            _yes(kl is not None and kl <= REVERSE_KL_AIM),
        ],
        ["FID", _number(result.score("fid")), _number(result.floor("fid")), "", ""],
        ["recall", _part(result.score("recall")), _part(result.floor("recall")), "", ""],
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
            _part(diversity),
            f"at least {DIVERSITY_AIM:g}",
            _yes(diversity is not None and diversity >= DIVERSITY_AIM),
        ],
        [
            "recall",
            _part(recall),
            f"at least {_part(enough)}, half of the floor",
            _yes(recall is not None and enough is not None and recall >= enough),
        ],
        [
            "copy check",
            copies["verdict"],
            "not a copier",
            _yes(copies["verdict"] == "not a copier"),
        ],
        ["distance to nearest training / held-out picture (1 without copies)", ratio, "", ""],
        [
            "copies among samples; among held-out pictures",
            f"{_percent(copies['share'], 1)}; {_percent(copies['share_held_out'], 1)}",
            "",
            "",
        ],
        ["FID; floor", f"{_number(result.score('fid'))}; {_number(result.floor('fid'))}", "", ""],
    ]
    return _single(result, ["", f"`{result.recipe}`", "aim", "met"], rows)


def _single(result: Result, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table of one result, with its cost and protocol."""
    cost = f"{_time(result.seconds)}, {result.images_seen:,} images seen."
    return "\n\n".join([_markdown(headings, rows, left=1), cost, _protocol([result])])


def _protocol(results: list[Result]) -> str:
    p = protocol(results)
    k = f" (k = {p['k']})" if "k" in p else ""
    return (
        f"Extractor `{p['extractor']}` ({p['extractor_sha256'][:8]}). {p['n_fake']:,} samples, seed"
        f" {p['seed']}, against {p['n_real']:,} real images (split {p['split']} of {p['data']})."
        f" Precision, recall and coverage{k} compare {p['n_prdc']:,} of each."
        f" Resize: {p['resize']}."
    )


def _machines(results: Iterable[Result]) -> str:
    results = list(results)
    machines = {
        f"{r.machine['processor']}, {count(int(r.machine['cores']), 'core')},"
        f" {r.machine['memory_gb']} GB"
        for r in results
    }
    commits: dict[str, set[str]] = {}
    for r in results:
        versions = ", ".join(f"{name} {version}" for name, version in r.versions.items())
        commits.setdefault(versions, set()).add(r.commit or "unknown")
    software = [
        f"{versions}, commit{'s' if len(made) > 1 else ''} {', '.join(sorted(made))}"
        for versions, made in sorted(commits.items())
    ]
    busiest = max(result.load for result in results)
    days = sorted({result.date for result in results})
    period = " to ".join(dict.fromkeys([days[0], days[-1]]))
    return (
        f"Measured on {'; '.join(sorted(machines))}, {period};"
        f" load average at most {busiest:g} at the start of a training. {'; '.join(software)}."
    )


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table: the first `left` columns flush left, the others flush right."""
    rules = ["---"] * left + ["---:"] * (len(headings) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows))


def _with(settings: Sequence[str]) -> str:
    return f" ({', '.join(settings)})" if settings else ""


def _quality(result: Result) -> list[str]:
    return [_number(result.score("fid")), _percent(result.score("label_accuracy"))]


def _median(values: Iterable[float | None]) -> float | None:
    """The median, or None if there are no values or one of them is None."""
    everything = list(values)
    known = [value for value in everything if value is not None]
    return statistics.median(known) if known and len(known) == len(everything) else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.1f} min"


def _yes(met: bool) -> str:
    return "yes" if met else "no"
