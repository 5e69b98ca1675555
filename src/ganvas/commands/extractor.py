"""Verbs that make what images are judged by."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ganvas.commands.options import (
    AS_THEY_ARE,
    Pictures,
    Signed,
    Whole,
    check_threads,
    positive,
    print_json,
)
from ganvas.errors import SettingError
from ganvas.system.files import refuse_unwritable

if TYPE_CHECKING:
    from ganvas.data.dataset import Dataset


def extractor(
    data: str,
    /,
    *,
    out: Path,
    epochs: Annotated[float | None, Signed] = None,
    seed: Annotated[int, Whole] = 0,
    threads: Annotated[int, Whole] = 2,
    pictures: Pictures = AS_THEY_ARE,
    json: bool = False,
) -> None:
    """Train a classifier to judge images by, and try it on the data's held-out part.

    The same command makes the same file again on the same machine.

    Parameters
    ----------
    data
        A labelled data set's name, or a path. Without a held-out part, a tenth of each class is
        held back.
    out
        The file to write: NAME.safetensors, to be given as --extractor NAME.safetensors.
    epochs
        Passes over the data. Default: as many as are good, a few minutes at most.
    seed
        Of all random draws.
    threads
        CPU threads. Weights depend on them in their last digits.
    json
        Print one JSON document.
    """
    from ganvas.evaluation import extractor_files

    positive("--epochs", epochs)
    check_threads(threads)
    if out.suffix != ".safetensors":
        raise SettingError(f"--out {out}: expected a name that ends in .safetensors")
    # before the training, so that nobody waits for a file that cannot be kept
    refuse_unwritable(out)
    training, held_out = _parts(data, pictures)
    network, origin = extractor_files.learn_classes(
        training,
        held_out,
        epochs=epochs,
        seed=seed,
        threads=threads,
        command=_command(data, out, epochs, seed, threads, pictures),
        tell=lambda epoch, loss: print(f"epoch {epoch}: mean loss {loss:.4f}", file=sys.stderr),
    )
    extractor_files.write_extractor(out, network, origin)
    if json:
        print_json(
            {"file": str(out), "sha256": origin.weights_sha256}
            | {
                name: getattr(origin, name)
                for name in ("accuracy", "held_out", "images", "epochs", "fingerprint")
            }
        )
        return
    if origin.accuracy is not None:
        print(
            f"{origin.accuracy:.2%} of {origin.held_out:,} held-out images named rightly",
            file=sys.stderr,
        )
    print(out)


def _parts(data: str, pictures: Pictures) -> tuple[Dataset, Dataset | None]:
    """The part to train on and the one held out, None where the data have none."""
    from ganvas import data as sources

    fit = pictures.fit or "crop"
    training = sources.load_dataset(
        data, size=pictures.sides, fit=fit, channels=pictures.channels, data_dir=pictures.data_dir
    )
    for note in training.notes:
        print(f"{training.name}: {note}", file=sys.stderr)
    held_out = sources.load_held_out(data, training, fit=fit, data_dir=pictures.data_dir)
    return training, held_out if held_out is not None and held_out.labels is not None else None


def _command(
    data: str, out: Path, epochs: float | None, seed: int, threads: int, pictures: Pictures
) -> str:
    """What makes the network again, wherever the data lie."""
    import shlex

    options = [
        ("--epochs", epochs and f"{epochs:g}"),
        ("--seed", seed),
        ("--threads", threads),
        ("--size", pictures.size),
        ("--fit", pictures.fit),
        ("--channels", pictures.channels),
        ("--out", out.name),
    ]
    given = [str(word) for pair in options if pair[1] is not None for word in pair]
    return shlex.join(["ganvas", "extractor", Path(data).name if "/" in data else data, *given])
