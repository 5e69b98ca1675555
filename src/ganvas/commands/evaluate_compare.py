"""`ganvas evaluate` and `ganvas compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ganvas.commands.options import AS_STORED, Pictures, print_json, print_table
from ganvas.recipe import Device
from ganvas.runs.train_options import WHOLE

if TYPE_CHECKING:
    from ganvas.evaluation.result import Copies, EvaluationResult

MAX_LISTED_CLASSES = 20  # that are listed


def evaluate(
    source: str,
    /,
    *,
    data: str | None = None,
    against: str | None = None,
    n: Annotated[int, WHOLE] = 10_000,
    extractor: str | None = None,
    seeds: Annotated[int, WHOLE] = 1,
    seed: Annotated[int, WHOLE] = 0,
    prdc_n: Annotated[int, WHOLE] = 2000,
    gan_train: bool = False,
    copies: bool = False,
    pictures: Pictures = AS_STORED,
    gan: Path | None = None,
    device: Device = "cpu",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Judge a run, an exported generator, or anybody's images, by real images.

    A run's result is also kept in its metrics.jsonl.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, digits, or images: .npz, .zip, a folder, a set's
        name.
    data
        The real images: a data set's name or a path. Its held-out part is judged against. Default:
        a run's own.
    against
        Judge against these images instead.
    n
        Generated images; all where there are fewer. Default: 10000.
    extractor
        What turns images into features: digits, classifier[:DATASET], self[:DATASET],
        inception[:PATH], or a file that
        ganvas extractor wrote. Default: what suits the data.
    seeds
        Sample with so many seeds, and give means and spreads.
    seed
        The first seed.
    prdc_n
        Images of each side for precision, recall, density and coverage. Default: 2000.
    gan_train
        Train a classifier on generated images, and one on real images, and test both.
    copies
        See whether training images are returned, and write a sheet of the closest pairs.
    gan
        The GAN's own file, where it is one of yours.
    device
        Of the generator. Default: cpu.
    out
        Where the sheet of --copies is written. Default: copies.png, in the run's directory where
        there is one.
    json
        Print one JSON document.
    """
    from ganvas.errors import SettingError
    from ganvas.evaluation import evaluate as judging
    from ganvas.system.machine import pick_device

    if out is not None and not copies:
        raise SettingError(f"--out {out} does nothing without --copies: leave it out")
    verdict = judging.evaluate(
        source,
        data=data,
        against=against,
        n=n,
        extractor=extractor,
        seeds=seeds,
        seed=seed,
        prdc_n=prdc_n,
        gan_train=gan_train,
        copies=copies,
        gan=gan,
        device=pick_device(device),
        out=out,
        **vars(pictures),
    )
    if json:
        print_json(verdict)
    else:
        _print(verdict)


def compare(*results: Path, json: bool = False) -> None:
    """Compare evaluations that were made under one protocol.

    Parameters
    ----------
    results
        Runs' directories (their last evaluation), or files that evaluate --json was saved to.
    json
        Print one JSON document.
    """
    from ganvas.errors import SettingError
    from ganvas.evaluation import history
    from ganvas.evaluation.result import (
        ROWS,
        cell,
        format_score,
        raise_if_incomparable,
        version_notes,
    )

    if not results:
        raise SettingError("nothing to compare: give runs' directories or files of evaluate --json")
    found = [(str(path), history.last_result(path)) for path in results]
    raise_if_incomparable(found)
    notes = [
        *version_notes(found),
        *(note for path, one in found if (note := history.stale_note(path, one))),
    ]
    if json:
        print_json({"results": dict(found), "notes": notes})
        return
    shown_scores = [
        name for name in ROWS if any(getattr(one, name) is not None for _, one in found)
    ]
    # without the same --data they need not be
    alike = all(one.floor == found[0][1].floor for _, one in found)
    floors = (
        [("floor", found[0][1])] if alike else [(f"floor of {path}", one) for path, one in found]
    )
    rows = []
    for name in shown_scores:
        title, better = ROWS[name]
        least = (format_score(getattr(one.floor, name)) for _, one in floors)
        rows.append([title, *(cell(one, name) for _, one in found), *least, better])
    print_table(["", *(path for path, _ in found), *(title for title, _ in floors), "better"], rows)
    sampled = {(one.seeds, one.protocol.seed) for _, one in found}
    print(_protocol(found[0][1], _sampling(found[0][1]) if len(sampled) == 1 else ""))
    if len(sampled) > 1:  # ± is over seeds, or of KID's subsets
        notes += [f"{path}: {_sampling(one)}" for path, one in found]
    for note in notes:
        print(f"note: {note}")


def _print(verdict: EvaluationResult) -> None:
    from ganvas.evaluation.result import ROWS, cell, format_score, shown_scores

    print_table(
        [verdict.source, "judged", "floor", "better"],
        [
            [
                ROWS[name][0],
                cell(verdict, name),
                format_score(getattr(verdict.floor, name)),
                ROWS[name][1],
            ]
            for name in shown_scores(verdict)
        ],
    )
    if verdict.per_class:
        print(_by_class(verdict.per_class))
    if verdict.real_accuracy is not None:
        print(f"label accuracy of the real images: {format_score(verdict.real_accuracy)}")
    if (taught := verdict.gan_train) is not None:
        print(
            f"GAN-train: a classifier of {taught.images:,} generated images is right on"
            f" {taught.fakes:.2%} of the held-out real ones, one of as many real images on"
            f" {taught.reals:.2%}"
        )
    if verdict.copies is not None:
        print(_copies(verdict.copies))
    print(_protocol(verdict, _sampling(verdict)))
    for note in verdict.notes:
        print(f"note: {note}")


def _by_class(accuracy: dict[str, float | None]) -> str:
    """Of all classes or, where they are many, of the worst."""
    from ganvas.evaluation.result import format_score

    known = [(name, value) for name, value in accuracy.items() if value is not None]
    title = "label accuracy by class: "
    if len(known) > MAX_LISTED_CLASSES:
        known = sorted(known, key=lambda each: each[1])[:MAX_LISTED_CLASSES]
        title = f"label accuracy of the {MAX_LISTED_CLASSES} worst classes: "
    return title + ", ".join(f"{name} {format_score(value)}" for name, value in known)


def _copies(found: Copies) -> str:
    kind = f"copy check: {found.verdict}"
    if found.ratio is not None:
        kind += f", ratio {found.ratio:.3f} ± {found.spread or 0:.3f}"
    if found.share is not None:
        kind += (
            f"; of {found.n_fake:,} asked {found.share:.1%} count as copies, of {found.yardstick}"
            f" images {found.share_held_out:.1%}"
        )
    pairs = f"; the closest pairs are in {found.sheet}" if found.sheet else ""
    return f"{kind}\ncopy check: distances in {found.space}{pairs}"


def _sampling(verdict: EvaluationResult) -> str:
    seed = verdict.protocol.seed
    return (
        f"seed {seed}"
        if verdict.seeds == 1
        else f"means and ± over {verdict.seeds} seeds from {seed}"
    )


def _protocol(verdict: EvaluationResult, sampling: str) -> str:
    p = verdict.protocol
    sampling = f"{sampling}; " if sampling else ""
    sampling = f"classes asked for equally; {sampling}" if p.asked_classes == "equal" else sampling
    modes = f"; modes of {p.n_modes:,}" if p.n_modes else ""
    kept = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    return (
        f"protocol: {p.extractor} {p.extractor_sha256[:8]}; {p.n_fake:,} judged against"
        f" {p.n_real:,} real ({p.split} of {p.data} {p.real_sha256[:8]}); precision to coverage on"
        f" {p.n_prdc:,} with k {p.k}{modes}; resize {p.resize}; {sampling}{kept}"
    )
