"""Several processes that train as one: their ranks, averaged gradients, and how they are started.

Each process runs plain modules on its part of the global batch. Between backward and the
optimizer's step, gradients are averaged in one flat all-reduce: the simplest way that is right with
penalties and several forward passes, too. It works over gloo (CPU) and NCCL (CUDA). Processes are
started by `ganvas train --processes N`, or by torchrun over several machines.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ganvas.errors import GanvasError, RunError

LEAVING_SECONDS = 5.0  # in which a process that another one misses says why, or ends


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees them.

    rank: of this process, from 0; the first decides for all, and alone writes files.
    size: how many processes train together. With one, every method returns what it was given.
    """

    rank: int = 0
    size: int = 1

    def shard(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch (N, ...), where `size` divides N."""
        if self.size == 1:
            return batch
        local = len(batch) // self.size
        return batch[self.rank * local : (self.rank + 1) * local]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([g.reshape(-1) for g in gradients]))
        parts = flat.split([g.numel() for g in gradients])
        for gradient, averaged in zip(gradients, parts, strict=True):
            gradient.copy_(averaged.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def raise_if_any(self, problem: str) -> None:
        """Raise RunError in all processes if any of them has a problem ("" for none): if one left
        alone, the others would wait for it."""
        problems = [problem] * self.size
        if self.size > 1:
            dist.all_gather_object(problems, problem)
        for rank, each in enumerate(problems):
            if each:
                raise RunError(f"process {rank} of {self.size}: {each}" if self.size > 1 else each)

    def broadcast(self, values: list[Any]) -> list[Any]:
        """The first process's values, in every process."""
        values = list(values)
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values


def torchrun_world() -> World | None:
    """The world of this process if torchrun, or a scheduler that sets its variables, started it;
    else None."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def machines() -> int:
    """The number of machines that train together, from torchrun's variables; 1 without them."""
    processes, local = (int(os.environ.get(f"{of}WORLD_SIZE", 1)) for of in ("", "LOCAL_"))
    return max(1, processes // local)


def is_first() -> bool:
    """True if this process speaks for all: it is alone, or the first that torchrun started."""
    return (torchrun_world() or World()).rank == 0


def join_group(world: World, check: Callable[[], None] = lambda: None) -> None:
    """Connect to the other processes at MASTER_ADDR and MASTER_PORT, for any device.

    check: called again and again while the first process waits for the others to arrive; it may
        raise. torch itself would wait half an hour for one that has ended.
    """
    if world.size > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = None if torchrun_world() else _all_arrived(world, check)
        dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size)


def _all_arrived(world: World, check: Callable[[], None]) -> Any:
    """The store through which the processes meet, once the first has seen all of them arrive."""
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(*place, world.size, world.rank == 0, wait_for_workers=False)
    store.set(f"arrived {world.rank}", "")
    everyone = [f"arrived {rank}" for rank in range(world.size)]
    while world.rank == 0 and not store.check(everyone):
        check()
        time.sleep(0.01)
    return store


def take_device(world: World, device: str) -> None:
    """Choose this process's GPU, before anything is put on one."""
    if world.size > 1 and device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", world.rank)))


def leave_group() -> None:
    """Disconnect from the other processes, if connected."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def together(
    size: int, device: str, follow: Callable[..., Any], arguments: tuple[Any, ...]
) -> Iterator[World]:
    """Start the other processes and yield the world of this one, the first of `size`.

    follow: each other process calls follow(world, *arguments); torchrun's have been started and
        call it themselves.
    Raises RunError with the reason if one of them cannot train.
    """
    started = torchrun_world()
    if size == 1 or started is not None:
        world = started or World()
        join_group(world)
        take_device(world, device)
        yield world
        leave_group()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]))
    world, *worlds = (World(rank, size) for rank in range(size))
    with _others(worlds, follow, arguments) as others:
        try:
            join_group(world, partial(_raise_if_gone, others))
            take_device(world, device)
            yield world
            for other in others:
                other.process.join()
        except RuntimeError as error:  # raised by torch when another process has gone
            if problem := _problem(others, LEAVING_SECONDS):
                raise RunError(problem) from error
            raise
        finally:
            leave_group()


class _Other(NamedTuple):
    """Another process on this machine, and the end of the pipe through which it reports."""

    world: World
    process: Any
    reports: Any

    def report(self) -> str:
        """Wait until the process reports why it cannot train, or ends ("" if all is well)."""
        try:
            problem = str(self.reports.recv())
        except EOFError:  # it has died
            self.process.join(LEAVING_SECONDS)
            if self.process.exitcode == 0:
                return ""
            problem = f"it ended with exit code {self.process.exitcode}"
            if self.process.exitcode == -signal.SIGKILL:
                problem = "it was killed, as happens when memory runs out: use fewer processes"
        return f"process {self.world.rank} of {self.world.size}: {problem}"


def _problem(others: list[_Other], seconds: float) -> str:
    """Return the first problem that another process has within some seconds, "" for none."""
    gone = connection.wait([other.reports for other in others], seconds)
    return next(filter(None, (other.report() for other in others if other.reports in gone)), "")


@contextmanager
def _others(
    worlds: Iterable[World], follow: Callable[..., Any], arguments: tuple[Any, ...]
) -> Iterator[list[_Other]]:
    """Start the other processes, and kill them at the end."""
    context, others = torch.multiprocessing.get_context("spawn"), list[_Other]()
    try:
        with _without_main():
            for world in worlds:
                reports, mine = context.Pipe(duplex=False)
                work = world, mine, follow, *arguments
                process = context.Process(target=_other, args=work, daemon=True)
                process.start()
                mine.close()  # so that the pipe ends with the process
                others.append(_Other(world, process, reports))
        yield others
    finally:
        for other in others:
            other.process.kill()


def _raise_if_gone(others: list[_Other]) -> None:
    """Raises RunError if another process has a problem or has ended."""
    if problem := _problem(others, 0):
        raise RunError(problem)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module from processes being started, which would run it again: a script without
    a guard would train anew in each, and standard input or a notebook is no file to run."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _other(world: World, reports: Any, follow: Callable[..., Any], *arguments: Any) -> None:
    # Ctrl-C reaches every process; the first one decides for all.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        follow(world, *arguments)
    except GanvasError as error:
        reports.send(str(error))
        os._exit(2)  # torch's threads would abort a tidy end
    except Exception as error:
        reports.send(" ".join(f"{type(error).__name__}: {error}".split()))
        raise


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
