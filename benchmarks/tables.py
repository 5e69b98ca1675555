"""The tables of docs/figures.md, as Markdown, from results. What was not measured yet is a dash."""

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
from result import Result, of_table, protocol

Found = dict[str, Result]
NOTHING = "Not measured yet."


def render(document: str, results: Path) -> str:
    """The document with every table written anew between its two comments. Raises RunError where
    these are missing."""
    for name in TABLES:
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        if (
            document.count(begin) != 1
            or document.count(end) != 1
            or document.index(begin) > document.index(end)
        ):
            raise RunError(
                f"the document of the figures lacks a line {begin.strip()} and, below it, one"
                f" {end.strip()}"
            )
        before, rest = document.split(begin)
        after = rest.split(end)[1]
        document = f"{before}{begin}\n{table(name, of_table(name, results))}\n\n{end}{after}"
    return document


def table(name: str, found: Found) -> str:
    """One table, by what it is called on the command line, with the protocol and the machine below
    it."""
    if not found:
        return NOTHING
    made = {
        "flagship": _flagship,
        "sources": _sources,
        "recipes": _recipes,
        "modes": _modes,
        "pictures": _pictures,
    }[name](found)
    notes = [f"`{result.cell}`: {result.note}." for result in found.values() if result.note]
    return "\n\n".join([made, *notes, _machines(found.values())])


def _flagship(found: Found) -> str:
    rows = []
    for (data, minutes), aim in FLAGSHIP_AIMS.items():
        cells = [
            c for c in flagship() if c.data == data and c.name.startswith(f"{data}-{minutes}min-")
        ]
        results = [found[cell.name] for cell in cells if cell.name in found]
        seen = _median(result.images_seen for result in results)
        accuracy = _median(result.figure("label_accuracy") for result in results)
        ratio = _median(result.beside_floor("fid") for result in results)
        recall = _median(result.figure("recall") for result in results)
        rows.append(
            [
                f"`{data}`",
                str(minutes),
                f"{len(results)} of {len(cells)}",
                _whole(seen),
                f"{_percent(accuracy)} ({_percent(aim.accuracy, 1)})",
                _number(_median(r.figure("fid") for r in results)),
                f"{_number(ratio)} ({aim.ratio:g})",
                f"{_part(recall)} ({aim.recall:.2f})",
                _part(_median(r.floor("recall") for r in results)),
                _missed(aim, accuracy, ratio, recall),
                (
                    f"{sum(not _misses(aim, *_three(r)) for r in results)} of {len(results)}"
                    if results
                    else "-"
                ),
            ]
        )
    headings = [
        "data", "minutes", "seeds", "images seen", "label accuracy (aim)", "FID", "FID / floor (at most)", "recall (aim)",
        "floor's recall", "medians reach", "runs that reach all",
    ]  # fmt: skip
    return f"{_markdown(headings, rows, left=1)}\n\n{_protocol(list(found.values()))}"


def _three(result: Result) -> tuple[float | None, float | None, float | None]:
    return result.figure("label_accuracy"), result.beside_floor("fid"), result.figure("recall")


def _misses(
    aim: Aim, accuracy: float | None, ratio: float | None, recall: float | None
) -> list[str]:
    return [
        name
        for name, reached in (
            ("label accuracy", accuracy is not None and accuracy >= aim.accuracy),
            ("FID / floor", ratio is not None and ratio <= aim.ratio),
            ("recall", recall is not None and recall >= aim.recall),
        )
        if not reached
    ]


def _missed(aim: Aim, accuracy: float | None, ratio: float | None, recall: float | None) -> str:
    if accuracy is None:
        return "-"
    missed = _misses(aim, accuracy, ratio, recall)
    return f"not {', '.join(missed)}" if missed else "all"


def _sources(found: Found) -> str:
    rows = []
    for recipe, system in SYSTEMS.items():
        name = plain_name(recipe)
        theirs, ours = found.get(name), found.get(f"r3gan-for-{name}")
        row = [f"`{recipe}`" + _with(system.settings), str(system.schedule), *["-"] * 8, "-"]
        if theirs is not None and theirs.plain is not None:
            row[2:6] = [_whole(theirs.plain.rate), _time(theirs.plain_seconds), *_quality(theirs)]
        if ours is not None:
            row[6:9] = [_time(ours.seconds), *_quality(ours)]
        if theirs is not None and ours is not None:
            times = theirs.plain_seconds / ours.seconds
            row[9:] = [
                f"{times:.1f} ({1 / system.part:g})",
                _yes(better(theirs, ours) and times >= 1 / system.part),
            ]
        rows.append(row)
    headings = [
        "system", "its schedule", "plain loop, images/s", "plain loop, time", "its FID", "its label accuracy",
        "`r3gan/digits`, time", "FID", "label accuracy", "times as fast (at least)", "better, in that time",
    ]  # fmt: skip
    return f"{_markdown(headings, rows, left=2)}\n\n{_protocol(list(found.values()))}"


def better(theirs: Result, ours: Result) -> bool:
    """Whether ours has the lower FID and, where theirs has labels to write, names them right more
    often."""

    def above(name: str, sign: int) -> bool:
        their, our = theirs.figure(name), ours.figure(name)
        return their is None or (our is not None and sign * our > sign * their)

    return above("fid", -1) and above("label_accuracy", 1)


def _recipes(found: Found) -> str:
    parts = []
    for data in EXTRACTORS:
        results = [result for result in found.values() if result.data == data]
        results.sort(key=lambda result: (result.figure("fid") is None, result.figure("fid")))
        if not results:
            parts.append(f"**{data}**: {NOTHING.lower()}")
            continue
        rows = [
            [
                f"`{result.recipe}`" + _with(result.settings),
                _number(result.figure("fid")),
                _number(result.beside_floor("fid")),
                _number(result.figure("kid")),
                _part(result.figure("precision")),
                _part(result.figure("recall")),
                _part(result.figure("coverage")),
                _percent(result.figure("label_accuracy")),
                _whole(result.images_seen),
                _time(result.seconds),
                _whole(result.peak_rss_mb),
                str(result.threads),
            ]
            for result in results
        ]
        floor = [
            "real training images",
            _number(results[0].floor("fid")),
            "1",
            _number(results[0].floor("kid")),
        ]
        floor += [_part(results[0].floor(name)) for name in ("precision", "recall", "coverage")]
        rows.append([*floor, _percent(results[0].floor("label_accuracy")), "", "", "", ""])
        headings = [
            f"recipe, on `{data}`",
            "FID",
            "FID / floor",
            "KID",
            "precision",
            "recall",
            "coverage",
            "label accuracy",
            "images seen",
            "time",
            "peak MB",
            "threads",
        ]
        parts.append(f"{_markdown(headings, rows, left=1)}\n\n{_protocol(results)}")
    return "\n\n".join(parts)


def _modes(found: Found) -> str:
    (result,) = found.values()
    modes, kl, n = (
        result.figure("modes"),
        result.figure("reverse_kl"),
        result.evaluation["protocol"]["n_modes"],
    )
    rows = [
        [
            f"modes of 1,000, of {n:,} samples",
            _whole(modes),
            _whole(result.floor("modes")),
            f"{MODES_AIM:,}",
            _yes(modes is not None and modes >= MODES_AIM),
        ],
        [
            "reverse KL",
            _part(kl),
            _part(result.floor("reverse_kl")),
            f"{REVERSE_KL_AIM:g} at most",
            _yes(kl is not None and kl <= REVERSE_KL_AIM),
        ],
        ["FID", _number(result.figure("fid")), _number(result.floor("fid")), "", ""],
        ["recall", _part(result.figure("recall")), _part(result.floor("recall")), "", ""],
    ]
    cost = f"{_time(result.seconds)}, {result.images_seen:,} images seen."
    made = _markdown(
        ["", f"`{result.recipe}`", "perfect sampler or floor", "aim", "reached"], rows, left=1
    )
    return f"{made}\n\n{cost}\n\n{_protocol([result])}"


def _pictures(found: Found) -> str:
    (result,) = found.values()
    recall, floor, diversity = result.figure("recall"), result.floor("recall"), result.diversity
    copies = result.evaluation["copies"]
    enough = None if floor is None else RECALL_OF_FLOOR_AIM * floor
    ratio = (
        "-" if copies["ratio"] is None else f"{copies['ratio']:.3f} ± {copies['spread'] or 0:.3f}"
    )
    rows = [
        [
            "diversity, held-out pictures being 1",
            _part(diversity),
            f"{DIVERSITY_AIM:g} at least",
            _yes(diversity is not None and diversity >= DIVERSITY_AIM),
        ],
        [
            "recall",
            _part(recall),
            f"{_part(enough)} at least, half of the floor's",
            _yes(recall is not None and enough is not None and recall >= enough),
        ],
        [
            "copy check",
            copies["verdict"],
            "not a copier",
            _yes(copies["verdict"] == "not a copier"),
        ],
        ["nearest training picture / nearest held-out one, 1 for no copies", ratio, "", ""],
        [
            "count as copies; so do of held-out pictures",
            f"{_percent(copies['share'], 1)}; {_percent(copies['share_held_out'], 1)}",
            "",
            "",
        ],
        ["FID; floor", f"{_number(result.figure('fid'))}; {_number(result.floor('fid'))}", "", ""],
    ]
    cost = f"{_time(result.seconds)}, {result.images_seen:,} images seen."
    return f"{_markdown(['', f'`{result.recipe}`', 'aim', 'reached'], rows, left=1)}\n\n{cost}\n\n{_protocol([result])}"


def _protocol(results: list[Result]) -> str:
    p = protocol(results)
    k = f", k = {p['k']}" if "k" in p else ""
    return (
        f"Judged by `{p['extractor']}` ({p['extractor_sha256'][:8]}): {p['n_fake']:,} samples of"
        f" seed {p['seed']} against {p['n_real']:,} real images ({p['split']} of {p['data']});"
        f" precision, recall and coverage on {p['n_prdc']:,} against {p['n_prdc']:,}{k}; resize"
        f" {p['resize']}."
    )


def _machines(results: Iterable[Result]) -> str:
    results = list(results)
    made = [(r.machine["processor"], r.machine["cores"], r.machine["memory_gb"]) for r in results]
    machines = {
        f"{name}, {cores} core{'s' if cores > 1 else ''}, {memory} GB"
        for name, cores, memory in made
    }
    versions = {
        ", ".join(f"{name} {version}" for name, version in r.versions.items())
        + f", commit {r.commit or 'unknown'}"
        for r in results
    }
    busiest = max(result.load for result in results)
    days = sorted({result.date for result in results})
    return (
        f"Made on {'; '.join(sorted(machines))}, {' to '.join(dict.fromkeys([days[0], days[-1]]))},"
        f" load at most {busiest:g} when a training began; {'; '.join(sorted(versions))}."
    )


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """The first `left` columns are text, flush left; the others flush right."""
    rules = ["---"] * left + ["---:"] * (len(headings) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows))


def _with(settings: Sequence[str]) -> str:
    return f" ({', '.join(settings)})" if settings else ""


def _quality(result: Result) -> list[str]:
    return [_number(result.figure("fid")), _percent(result.figure("label_accuracy"))]


def _median(values: Iterable[float | None]) -> float | None:
    known = list(values)
    numbers = [value for value in known if value is not None]
    return statistics.median(numbers) if numbers and len(numbers) == len(known) else None


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


def _yes(reached: bool) -> str:
    return "yes" if reached else "no"
