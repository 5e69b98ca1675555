"""`ganvas sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ganvas.recipe import Device
from ganvas.runs.train_options import SIGNED, WHOLE


def sample(
    source: Path,
    /,
    *,
    n: Annotated[int | None, WHOLE] = None,
    labels: Annotated[str | None, SIGNED] = None,
    seed: Annotated[int, WHOLE] = 0,
    out: Path = Path("result.png"),
    columns: Annotated[int | None, WHOLE] = None,
    scale: Annotated[int | None, WHOLE] = None,
    gan: Path | None = None,
    device: Device = "cpu",
) -> None:
    """Make images with a trained generator.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, or digits, a generator that comes with ganvas.
    n
        Number of images. They go through the classes in turn.
    labels
        Classes to make: one per character (20231223), names with commas (cat,dog), or balanced.
    seed
        Seed of the latents: image k of a seed is always the same.
    out
        A .png (one row for a sequence, else a sheet), .npz or .zip, or a new folder.
    columns
        Images in a row of the PNG.
    scale
        Pixels of the PNG per pixel of an image. Default: 4.
    gan
        The GAN's file, if it is your own.
    device
        Device of the generator.
    """
    from ganvas.runs.run import Run
    from ganvas.runs.weights import locate_generator, open_generator
    from ganvas.sampling.samples import check_output, kind_of, make, sample_request
    from ganvas.system.machine import pick_device

    source = locate_generator(source)
    kind_of(out)  # refuses what cannot be written before anything is read
    path, where = None if gan is None else str(gan), pick_device(device)
    opened = (
        Run.open(source, gan=path).generator(where)
        if source.is_dir()
        else open_generator(source, path, where)
    )
    sampler, image = opened[0], opened[1].image
    order = sample_request(sampler, n=n, labels=labels)
    check_output(
        out, (order.n, image.height, image.width, image.channels), order.columns, columns, scale
    )
    print(make(sampler, order, seed).save(out, columns=columns, scale=scale))
