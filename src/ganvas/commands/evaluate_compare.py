"""`ganvas evaluate` and `ganvas compare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ganvas.commands.options import GanOption, print_json, print_table
from ganvas.data.reading import Reading
from ganvas.recipe import Device
from ganvas.runs.train_options import WHOLE

if TYPE_CHECKING:
    from ganvas.evaluation.result import Copies, EvaluationResult

MAX_LISTED_CLASSES = 20


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Reading):
    """The options of `ganvas.evaluate` that a command line can give.

    Parameters
    ----------
    data
        The real images: a data set's name or a path. Their held-out part is compared with. Default:
        the data that the run was trained on.
    against
        Compare with these images instead.
    n
        Number of generated images; all of a set that has fewer.
    extractor
        Feature extractor: digits, imagenet, imagenet+classifier[:DATASET], classifier[:DATASET],
        self[:DATASET], inception[:PATH], or a file from ganvas extractor. Default: one that suits
        the data.
    seeds
        Number of samples to take, for means and standard deviations.
    seed
        The first seed.
    prdc_n
        Images of each side for precision, recall, density and coverage.
    gan_train
        Train one classifier on generated and one on real images, and test both.
    copies
        Check whether training images are reproduced, and write a sheet of the closest pairs.
    device
        Device of the generator.
    out
        File for the sheet of --copies. Default: copies.png, in the run's directory if there is one.
    """

    data: str | None = None
    against: str | None = None
    n: Annotated[int, WHOLE] = 10_000
    extractor: str | None = None
    seeds: Annotated[int, WHOLE] = 1
    seed: Annotated[int, WHOLE] = 0
    prdc_n: Annotated[int, WHOLE] = 2000
    gan_train: bool = False
    copies: bool = False
    gan: GanOption = None
    device: Device = "cpu"
    out: Path | None = None


DEFAULTS = EvaluateOptions()


def evaluate(source: str, /, *, options: EvaluateOptions = DEFAULTS, json: bool = False) -> None:
    """Evaluate a run, a generator or any set of images by its distance from real images.

    The result for a run is also appended to its metrics.jsonl.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, an .onnx of ganvas export, or digits; or images:
        a folder, an archive, arrays or whatever --data takes.
    json
        Print one JSON document.
    """
    import ganvas
    from ganvas.errors import SettingError
    from ganvas.system.machine import pick_device

    if options.out is not None and not options.copies:
        raise SettingError(f"--out {options.out} does nothing without --copies: leave it out")
    device = pick_device(options.device)
    result = ganvas.evaluate(source, **vars(options) | {"device": device})
    if json:
        print_json(result)
    else:
        _print(result)


def compare(*results: Path, json: bool = False) -> None:
    """Compare evaluations that were made under one protocol.

    Parameters
    ----------
    results
        Directories of runs, for their last evaluation, or files with the output of evaluate --json.
    json
        Print one JSON document.
    """
    from ganvas.errors import SettingError
    from ganvas.evaluation import history
    from ganvas.evaluation.result import raise_if_incomparable, version_notes

    if not results:
        raise SettingError("nothing to compare: give runs' directories or files of evaluate --json")
    found = [(str(path), history.last_result(path)) for path in results]
    raise_if_incomparable(found)
    stale = [history.stale_note(path, result) for path, result in found]
    notes = [*version_notes(found), *(note for note in stale if note)]
    if json:
        print_json({"results": dict(found), "notes": notes})
        return
    _print_side_by_side(found)
    first = found[0][1]
    samplings = {(result.seeds, result.protocol.seed) for _, result in found}
    print(_protocol(first, _sampling(first) if len(samplings) == 1 else ""))
    if len(samplings) > 1:  # since ± is over seeds, or of KID's subsets
        notes += [f"{path}: {_sampling(result)}" for path, result in found]
    for note in notes:
        print(f"note: {note}")


def _print_side_by_side(found: list[tuple[str, EvaluationResult]]) -> None:
    from ganvas.evaluation.result import ROWS, cell, format_score

    first = found[0][1]
    # floors differ if the real training images do
    floors = [(f"floor of {path}", result) for path, result in found]
    if all(result.floor == first.floor for _, result in found):
        floors = [("floor", first)]
    rows = []
    for name, (title, better) in ROWS.items():
        if all(getattr(result, name) is None for _, result in found):
            continue
        scores = [cell(result, name) for _, result in found]
        least = [format_score(getattr(result.floor, name)) for _, result in floors]
        rows.append([title, *scores, *least, better])
    print_table(["", *(path for path, _ in found), *(title for title, _ in floors), "better"], rows)


def _print(result: EvaluationResult) -> None:
    from ganvas.evaluation.result import ROWS, cell, format_score, shown_scores

    print_table(
        [result.source, "judged", "floor", "better"],
        [
            [
                ROWS[name][0],
                cell(result, name),
                format_score(getattr(result.floor, name)),
                ROWS[name][1],
            ]
            for name in shown_scores(result)
        ],
    )
    if result.per_class:
        print(_by_class(result.per_class))
    if result.real_accuracy is not None:
        print(f"label accuracy of the real images: {format_score(result.real_accuracy)}")
    if (taught := result.gan_train) is not None:
        print(
            f"GAN-train: trained on {taught.images:,} generated images, a classifier is right on"
            f" {taught.fakes:.2%} of the held-out real ones; trained on as many real images, on"
            f" {taught.reals:.2%}"
        )
    if result.copies is not None:
        print(_copies(result.copies))
    print(_protocol(result, _sampling(result)))
    for note in result.notes:
        print(f"note: {note}")


def _by_class(accuracy: dict[str, float | None]) -> str:
    """One line with the label accuracy of all classes, or of the worst ones of many."""
    from ganvas.evaluation.result import format_score

    known = [(name, value) for name, value in accuracy.items() if value is not None]
    title = "label accuracy by class: "
    if len(known) > MAX_LISTED_CLASSES:
        known = sorted(known, key=lambda each: each[1])[:MAX_LISTED_CLASSES]
        title = f"label accuracy of the {MAX_LISTED_CLASSES} worst classes: "
    return title + ", ".join(f"{name} {format_score(value)}" for name, value in known)


def _copies(copies: Copies) -> str:
    line = f"copy check: {copies.verdict}"
    if copies.ratio is not None:
        line += f", ratio {copies.ratio:.3f} ± {copies.spread or 0:.3f}"
    if copies.share is not None:
        line += (
            f"; of {copies.n_fake:,} generated images {copies.share:.1%} count as copies, of"
            f" {copies.yardstick} images {copies.share_held_out:.1%}"
        )
    pairs = f"; the closest pairs are in {copies.sheet}" if copies.sheet else ""
    return f"{line}\ncopy check: distances in {copies.space}{pairs}"


def _sampling(result: EvaluationResult) -> str:
    seed = result.protocol.seed
    return (
        f"seed {seed}"
        if result.seeds == 1
        else f"means and ± over {result.seeds} seeds from {seed}"
    )


def _protocol(result: EvaluationResult, sampling: str) -> str:
    p = result.protocol
    sampling = f"{sampling}; " if sampling else ""
    sampling = f"classes asked for equally; {sampling}" if p.asked_classes == "equal" else sampling
    modes = f"; modes of {p.n_modes:,}" if p.n_modes else ""
    kept = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    return (
        f"protocol: {p.extractor} {p.extractor_sha256[:8]}; {p.n_fake:,} judged against"
        f" {p.n_real:,} real ({p.split} of {p.data} {p.real_sha256[:8]}); precision to coverage on"
        f" {p.n_prdc:,} with k {p.k}{modes}; resize {p.resize}; {sampling}{kept}"
    )
