"""`ganvas extractor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ganvas.commands.options import print_json
from ganvas.data.reading import AS_STORED, SIGNED, Reading
from ganvas.errors import SettingError
from ganvas.runs.train_options import MAX_THREADS, WHOLE, check_positive
from ganvas.system.files import refuse_unwritable
from ganvas.system.text import command

if TYPE_CHECKING:
    from ganvas.data.dataset import Dataset


def extractor(
    data: str,
    /,
    *,
    out: Path,
    epochs: Annotated[float | None, SIGNED] = None,
    seed: Annotated[int, WHOLE] = 0,
    threads: Annotated[int, WHOLE] = 2,
    reading: Reading = AS_STORED,
    json: bool = False,
) -> None:
    """Train a classifier as a feature extractor for evaluations; test it on held-out images.

    On the same machine, the same command makes the same file.

    Parameters
    ----------
    data
        A labelled data set's name or a path. Without a held-out part, a tenth of each class is
        held out.
    out
        The file to write, NAME.safetensors, for --extractor NAME.safetensors.
    epochs
        Passes over the data. Default: chosen by the data, for a few minutes at most.
    seed
        Seed of all random draws.
    threads
        CPU threads. The last digits of the weights depend on their number.
    json
        Print one JSON document.
    """
    from ganvas.evaluation import extractor_files

    check_positive("--epochs", epochs)
    check_positive("--threads", threads, MAX_THREADS)
    if out.suffix != ".safetensors":
        raise SettingError(f"--out {out}: expected a name that ends in .safetensors")
    # before the training, which would be in vain
    refuse_unwritable(out)
    training, held_out = _parts(data, reading)
    options: dict[str, Any] = {"epochs": epochs, "seed": seed, "threads": threads}
    network, origin = extractor_files.learn_classes(
        training,
        held_out,
        **options,
        command=_repeat(data, out, options | vars(reading)),
        tell=lambda epoch, loss: print(f"epoch {epoch}: mean loss {loss:.4f}", file=sys.stderr),
    )
    extractor_files.write_extractor(out, network, origin)
    if json:
        names = ("accuracy", "held_out", "images", "epochs", "fingerprint")
        parts = {name: getattr(origin, name) for name in names}
        print_json({"file": str(out), "sha256": origin.weights_sha256} | parts)
        return
    if origin.accuracy is not None:
        print(
            f"{origin.accuracy:.2%} of {origin.held_out:,} held-out images classified correctly",
            file=sys.stderr,
        )
    print(out)


def _repeat(data: str, out: Path, options: dict[str, Any]) -> str:
    """The command that makes the same file, wherever the data are."""
    name = Path(data).name if "/" in data else data
    return command("extractor", name, **options | {"data_dir": None}, out=out.name)


def _parts(data: str, reading: Reading) -> tuple[Dataset, Dataset | None]:
    """Read the training part and the held-out part; None for one that is missing or unlabelled."""
    training = reading.load(data)
    for note in training.notes:
        print(f"{training.name}: {note}", file=sys.stderr)
    held_out = reading.held_out(data, training)
    return training, held_out if held_out is not None and held_out.labels is not None else None
