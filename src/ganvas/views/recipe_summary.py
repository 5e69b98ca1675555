"""Summary of a recipe: its resolved settings, and the layers of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import nn
from torchinfo import ModelStatistics, summary

from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, settings
from ganvas.runs.request import toml
from ganvas.training.preflight import Prepared


@dataclass(frozen=True)
class Summary:
    """The contents of `ganvas show`.

    settings: {"model": {...}, "train": {...}}, resolved.
    presets: minutes -> the settings that `ganvas train --minutes` changes for about that time.
    gpu: the settings that are changed on a GPU.
    parameters: network -> {"trainable", "total"}; see `parameter_count`.
    layers: network -> torchinfo's table.
    """

    name: str
    image: ImageSpec
    settings: dict[str, Any]
    presets: Mapping[float, Mapping[str, Any]]
    gpu: Mapping[str, Any]
    parameters: dict[str, dict[str, int]]
    layers: dict[str, ModelStatistics]

    def to_json(self) -> dict[str, Any]:
        recipe = {"name": self.name, "image": msgspec.to_builtins(self.image), **self.settings}
        presets = {f"{minutes:g}": preset for minutes, preset in self.presets.items()}
        return {
            "recipe": recipe,
            "presets": presets,
            "gpu": self.gpu,
            "parameters": self.parameters,
        }

    def to_text(self) -> str:
        lines = [f"{self.name} for {self.image}", ""]
        for part, values in self.settings.items():
            lines += [f"{part}.{k} = {toml(v)}" for k, v in values.items() if v is not None]
        for minutes, preset in self.presets.items():
            lines.append(f"with --minutes of about {minutes:g}: {_changes(preset) or 'as above'}")
        if self.gpu:
            lines.append(f"on a GPU: {_changes(self.gpu)}")
        for network, table in self.layers.items():
            trainable, total = self.parameters[network].values()
            size = f"{trainable:,} trainable parameters, {total:,} with running statistics"
            lines += ["", f"{network}: {size}", str(table)]
        return "\n".join(lines)


def _changes(preset: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {toml(value)}" for name, value in preset.items())


def summarise(prepared: Prepared) -> Summary:
    """Describe a recipe and its networks."""
    gan, recipe, spec = prepared.gan, prepared.recipe, prepared.spec
    networks = {"generator": gan.generator, "discriminator": gan.discriminator}
    return Summary(
        name=prepared.name,
        image=spec,
        settings=settings(recipe),
        presets=recipe.presets,
        gpu=recipe.gpu,
        parameters={network: parameter_count(module) for network, module in networks.items()},
        layers={network: _layers(gan, network, spec) for network in networks},
    )


def parameter_count(network: nn.Module) -> dict[str, int]:
    """Count trainable parameters, and in total with frozen ones and running statistics.

    BatchNorm's counters of batches are left out.
    """
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    statistics = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    return {"trainable": trainable, "total": trainable + frozen + statistics}


def _layers(gan: Gan, network: str, spec: ImageSpec) -> ModelStatistics:
    """Make torchinfo's table for a batch of 2, which BatchNorm can normalise."""
    inputs = [torch.zeros(2, spec.channels, spec.height, spec.width)]
    if network == "generator":
        inputs = [torch.zeros(2, gan.z_dim)]
    if gan.conditional:
        inputs.append(torch.zeros(2, dtype=torch.int64))
    module, columns = getattr(gan, network), ("output_size", "num_params")
    return summary(module, input_data=inputs, verbose=0, col_names=columns, device="cpu")
