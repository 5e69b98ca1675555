"""`ganvas extractor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ganvas.commands.options import AS_STORED, ReadingOptions, print_json
from ganvas.errors import SettingError
from ganvas.runs.train_options import MAX_THREADS, SIGNED, WHOLE, check_positive
from ganvas.system.files import refuse_unwritable
from ganvas.system.text import command

if TYPE_CHECKING:
    from ganvas.data.dataset import Dataset
    from ganvas.data.load import Reading


def extractor(
    data: str,
    /,
    *,
    out: Path,
    epochs: Annotated[float | None, SIGNED] = None,
    seed: Annotated[int, WHOLE] = 0,
    threads: Annotated[int, WHOLE] = 2,
    pictures: ReadingOptions = AS_STORED,
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
    training, held_out = _parts(data, pictures.reading)
    options = vars(pictures) | {
        "epochs": epochs,
        "seed": seed,
        "threads": threads,
        "data_dir": None,
    }
    name = Path(data).name if "/" in data else data  # the same file can be made elsewhere
    network, origin = extractor_files.learn_classes(
        training,
        held_out,
        epochs=epochs,
        seed=seed,
        threads=threads,
        command=command("extractor", name, **options, out=out.name),
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
            f"{origin.accuracy:.2%} of {origin.held_out:,} held-out images classified correctly",
            file=sys.stderr,
        )
    print(out)


def _parts(data: str, reading: Reading) -> tuple[Dataset, Dataset | None]:
    """Read the training part and the held-out part; None for one that is missing or unlabelled."""
    training = reading.load(data)
    for note in training.notes:
        print(f"{training.name}: {note}", file=sys.stderr)
    held_out = reading.held_out(data, training)
    return training, held_out if held_out is not None and held_out.labels is not None else None
