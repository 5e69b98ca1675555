"""Verbs that make images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ganvas.commands.options import Device, Signed, Whole


def sample(
    source: Path,
    /,
    *,
    n: Annotated[int | None, Whole] = None,
    labels: Annotated[str | None, Signed] = None,
    seed: Annotated[int, Whole] = 0,
    out: Path = Path("result.png"),
    columns: Annotated[int | None, Whole] = None,
    scale: Annotated[int | None, Whole] = None,
    gan: Path | None = None,
    device: Device = "cpu",
) -> None:
    """Make images with a trained generator.

    Parameters
    ----------
    source
        A run's directory, a generator.safetensors, or digits: a generator that comes with the
        package.
    n
        How many images, going through the classes where there are any.
    labels
        One class a character (20231223), names with commas (cat,dog), or balanced.
    seed
        Of the latents: image k of a seed is always the same.
    out
        .png (a row for a sequence, else a sheet), .npz, .zip, or a new folder. Default: result.png.
    columns
        Images in a row of the PNG.
    scale
        Pixels of the PNG for each pixel of an image. Default: 4.
    gan
        The GAN's own file, where it is one of yours.
    device
        Default: cpu.
    """
    from ganvas.runs.run import Run
    from ganvas.runs.weights import locate_generator, open_generator
    from ganvas.sampling.samples import check_output, kind_of, make, sample_request
    from ganvas.system.machine import pick_device

    source = locate_generator(source)
    kind_of(out)  # says now, before anything is read, what cannot be written
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
