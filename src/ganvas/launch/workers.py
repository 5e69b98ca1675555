"""The other processes of a shared training: they follow the first."""

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
    """Be one of the other processes of a training; the first one tells which run, on a shared disk.

    Raises RunError, here and in the first process, if this one has another run, GAN file or data.
    """
    prepare_cpu()
    distributed.join_group(world)
    path, finished = world.broadcast(["", ""])
    if not finished:
        problem = ""
        try:
            run, file, dataset = open_same(path, gan, data_dir)
        except GanvasError as error:
            problem = str(error)
        world.raise_if_any(problem)
        distributed.take_device(world, run.card.device)
        train_run(run, file, dataset, progress=Progress(quiet=True), world=world)
    distributed.leave_group()
    return Run.open(path, gan=gan)


def open_same(path: str, gan: str | None, data_dir: Path | None) -> tuple[Run, GanFile, Dataset]:
    """Open a run with its GAN file and data.

    Raises RunError if these are not the same here as in the first process.
    """
    run = Run.open(path, gan=gan)
    file, dataset = run.card.gan_file(gan), run.card.dataset(data_dir)
    if file.sha256 != run.card.gan_sha256:
        raise RunError(f"{gan} is another file here than where the run was made: copy it")
    if dataset.fingerprint != run.card.data.fingerprint:
        raise RunError(
            f"{dataset.name} holds other images here than where the run was made: copy them"
        )
    return run, file, dataset
