"""BatchNorm with the statistics of the global batch of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    backward = forward


class GlobalBatchNorm(nn.Module):
    """BatchNorm over the global batch, on any device (torch's SyncBatchNorm refuses CPUs).

    It shares parameters and running statistics with the layer that it replaces, so state dicts are
    the same.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps, self.momentum = layer.eps, layer.momentum or 0.1
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Tensor) -> Tensor:
        """x float (N, C) or (N, C, H, W), this process's part of the batch -> the same shape."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        # Sums of half-precision values would lose too much.
        x = x.float() if x.dtype.itemsize < 4 else x
        axes, per_channel = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        n = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _summed(x.sum(axes)) / n
        centred = x - mean.view(per_channel)
        variance = _summed(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / max(1, n - 1)), self.momentum)
            self.num_batches_tracked += 1
        gain = (variance + self.eps).rsqrt()
        if self.weight is None:  # a layer without weights of its own
            return centred * gain.view(per_channel)
        return centred * (self.weight * gain).view(per_channel) + self.bias.view(per_channel)


def _summed(x: Tensor) -> Tensor:
    summed: Tensor = _SumOverProcesses.apply(x)
    return summed


def share_batchnorm(network: nn.Module) -> None:
    """Replace every BatchNorm in a network by a GlobalBatchNorm."""
    for name, child in network.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(network, name, GlobalBatchNorm(child))
        else:
            share_batchnorm(child)
