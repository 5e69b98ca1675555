"""Work of the other processes of a training: spawned ones cannot import test files."""

from __future__ import annotations

import os
import socket
from typing import Any

import torch
import torch.multiprocessing
from torch import nn

from ganvas.errors import RunError
from ganvas.layers.batchnorm import GlobalBatchNorm
from ganvas.training.distributed import World, join_group, leave_group
from helpers.common import train


def free_ports(number: int) -> list[int]:
    """Ports on which no process listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def train_as_one_of_two(rank: int, ports: list[int], trainings: list[dict[str, Any]]) -> None:
    """Be one of two processes of torchrun's, of trainings that meet at one port each."""
    for port, training in zip(ports, trainings, strict=True):
        os.environ.update(
            RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
        )
        train(**training)


def train_no_more(world: World) -> None:
    """Be another process of a training, and fail."""
    join_group(world)
    world.raise_if_any("")
    raise RunError("no more")


def lack_the_data(world: World, *arguments: Any) -> None:
    """Be another process of a training, without the data."""
    join_group(world)
    world.broadcast(["", ""])
    world.raise_if_any("no data here")


def end_before_joining(world: World) -> None:
    """Be another process of a training, and die."""
    os._exit(4)


class Ended:
    """An argument that ends the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def normalise_part(
    rank: int, port: int, x: torch.Tensor, grad: torch.Tensor, results: torch.multiprocessing.Queue
) -> None:
    """Be one of two processes that share a BatchNorm."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    world = World(rank, 2)
    join_group(world)
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3).double()
    nn.init.normal_(layer.weight)
    shared = GlobalBatchNorm(layer)
    mine = world.shard(x).clone().requires_grad_()
    y = shared(mine)
    y.backward(world.shard(grad))
    world.average_gradients(shared.parameters())
    eval_y = shared.eval()(mine)
    results.put(
        (
            rank,
            [
                t.detach().numpy()
                for t in (y, mine.grad, shared.weight.grad * 2, shared.running_var, eval_y)
            ],
        )
    )
    leave_group()
