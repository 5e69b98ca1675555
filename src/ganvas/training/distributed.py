"""Several processes that train as one: who is who, averaged gradients, BatchNorm over the whole
batch.

Each process computes its part of the global batch with plain modules. Between backward and step the
gradients are averaged in one flat all-reduce: the simplest thing that is right with penalties and
several forwards, too. Works over gloo (CPU) and NCCL (CUDA); started by `ganvas train --processes
N`, or by torchrun over several machines.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from ganvas.errors import GanvasError, RunError


@dataclass(frozen=True)
class World:
    """This process's rank among `size` processes. A world of one does nothing."""

    rank: int = 0
    size: int = 1

    def shard(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch."""
        if self.size == 1:
            return batch
        local = len(batch) // self.size
        return batch[self.rank * local : (self.rank + 1) * local]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, averaged in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(averaged.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        if self.size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.size

    def raise_if_any(self, problem: str) -> None:
        """Raises RunError in all processes where any has a problem ("" for none): one that left
        alone would leave the others waiting for it."""
        if self.size == 1:
            problems = [problem]
        else:
            problems = [""] * self.size
            dist.all_gather_object(problems, problem)
        for rank, told in enumerate(problems):
            if told:
                raise RunError(f"process {rank} of {self.size}: {told}" if self.size > 1 else told)

    def broadcast(self, values: list[Any]) -> list[Any]:
        """The first process's values, told to all."""
        if self.size == 1:
            return values
        told: list[Any] = [values]
        dist.broadcast_object_list(told)
        return list(told[0])


def torchrun_world() -> World | None:
    """Who this process is when torchrun (or a scheduler that sets its variables) started it, else
    None."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def machines() -> int:
    """How many machines train together: torchrun says."""
    return max(
        1, int(os.environ.get("WORLD_SIZE", 1)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    )


def is_first() -> bool:
    """Whether this process speaks for all: it is alone, or the first of those that torchrun has
    started."""
    world = torchrun_world()
    return world is None or world.rank == 0


def join_group(world: World) -> None:
    """Meet the other processes, at MASTER_ADDR and MASTER_PORT, whatever device they are to train
    on."""
    if world.size > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, rank=world.rank, world_size=world.size)


def take_device(world: World, device: str) -> None:
    """Have a GPU of one's own, before anything is put on it."""
    if world.size > 1 and device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", world.rank)))


def leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def together(
    size: int, device: str, follow: Callable[..., Any], arguments: tuple[Any, ...]
) -> Iterator[World]:
    """Be the first of `size` processes. The others are started here to call follow(world,
    *arguments), unless torchrun has started them already. Raises RunError with what keeps one of
    them from training."""
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
    context = torch.multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    others = [
        context.Process(
            target=_other, args=(World(rank, size), told, follow, arguments), daemon=True
        )
        for rank in range(1, size)
    ]
    for other in others:
        other.start()
    try:
        join_group(World(0, size))
        take_device(World(0, size), device)
        yield World(0, size)
        for other in others:
            other.join()
    except RuntimeError as error:  # torch's, where another process has gone
        if told.empty():
            raise
        raise RunError(told.get()) from error
    finally:
        leave_group()
        for other in others:
            other.kill()


def _other(world: World, told: Any, follow: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process; the first one decides for all
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        follow(world, *arguments)
    except GanvasError as error:
        told.put(f"process {world.rank} of {world.size}: {error}")
        sys.exit(2)
