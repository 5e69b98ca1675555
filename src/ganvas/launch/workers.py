"""The other processes of a training that is shared: they follow the first."""

from __future__ import annotations

from pathlib import Path

from ganvas.data.dataset import Dataset
from ganvas.errors import GanvasError, RunError
from ganvas.gan import GanFile
from ganvas.runs.run import Run
from ganvas.system.machine import prepare_cpu
from ganvas.system.progress import Progress
from ganvas.training import distributed
from ganvas.training.distributed import World
from ganvas.training.loop import train_run


def follow(world: World, gan: str | None, data_dir: Path | None) -> Run:
    """Be one of the other processes of a training, whose run the first process names; its files are
    on a shared disk.

    Raises RunError where this process does not have that run, its GAN's file or its data; in the
    first process, too.
    """
    prepare_cpu()
    distributed.join_group(world)
    path, finished = world.broadcast(["", ""])
    if not finished:
        problem = ""
        try:
            run, file, dataset = _same(path, gan, data_dir)
        except GanvasError as error:
            problem = str(error)
        world.raise_if_any(problem)
        distributed.take_device(world, run.card.device)
        train_run(run, file, dataset, progress=Progress(quiet=True), world=world)
    distributed.leave_group()
    return Run.open(path, gan=gan)


def _same(path: str, gan: str | None, data_dir: Path | None) -> tuple[Run, GanFile, Dataset]:
    """A run with its GAN's file and its data. Raises RunError where these are others than the first
    process found."""
    run = Run.open(path, gan=gan)
    file, dataset = run.card.gan_file(gan), run.card.dataset(data_dir)
    if file.sha256 != run.card.gan_sha256:
        raise RunError(f"{gan} is another file here than where the run was made: copy it")
    if dataset.fingerprint != run.card.data.fingerprint:
        raise RunError(
            f"{dataset.name} holds other images here than where the run was made: copy them"
        )
    return run, file, dataset
