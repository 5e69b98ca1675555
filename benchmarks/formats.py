"""Tables in Markdown: their layout, the numbers in them, and the lines below them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from ganvas.system.text import count
from result import Result, protocol

NOTHING = "Not measured yet."


def protocol_line(results: list[Result]) -> str:
    """The protocol that results share, in words. Raises MetricError if they differ."""
    p = protocol(results)
    k = f" (k = {p['k']})" if "k" in p else ""
    samples, seed = f"{p['n_fake']:,} samples", f"seed {p['seed']}"
    if (samplings := results[0].evaluation.get("seeds", 1)) > 1:
        samples = f"Means over {samplings} samplings of {p['n_fake']:,}"
        seed = f"seeds {p['seed']} to {p['seed'] + samplings - 1}"
    return (
        f"Extractor `{p['extractor']}` ({p['extractor_sha256'][:8]}). {samples}, {seed},"
        f" against {p['n_real']:,} real images (split {p['split']} of {p['data']})."
        f" Precision, recall and coverage{k} compare {p['n_prdc']:,} of each."
        f" Resize: {p['resize']}."
    )


def machines_line(results: Iterable[Result]) -> str:
    """Machines, days and versions of results, in words."""
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


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table: the first `left` columns flush left, the others flush right."""
    rules = ["---"] * left + ["---:"] * (len(headings) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows))


def median(values: Iterable[float | None]) -> float | None:
    """The median, or None if there are no values or one of them is None."""
    everything = list(values)
    known = [value for value in everything if value is not None]
    return statistics.median(known) if known and len(known) == len(everything) else None


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def part(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def wall_time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.1f} min"


def yes(met: bool) -> str:
    return "yes" if met else "no"
