"""What `ganvas doctor` says of a run: its log, and a checkup of what it has saved, under the
doctor's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganvas.data.dataset import Dataset
from ganvas.doctor.remedies import RunInfo, Stage
from ganvas.doctor.rules import Finding, History, diagnose
from ganvas.errors import DataError, RunError
from ganvas.gan import Gan, GanFile
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.training.batches import Batches
from ganvas.training.checkup import Checkup
from ganvas.training.learner import Learner


@dataclass(frozen=True)
class Diagnosis:
    """state: the first finding's. stage: where the training is. images_seen: up to the log's end.
    figures: the newest.

    notes: what could not be looked at, and why.
    """

    run: str
    state: str
    findings: list[Finding]
    stage: Stage
    images_seen: int
    planned: int
    figures: dict[str, float]
    notes: list[str]

    def to_text(self) -> str:
        lines = [
            f"{self.run}: {self.state} ({self.stage}, {self.images_seen:,} of {self.planned:,}"
            " images seen)"
        ]
        for finding in self.findings:
            lines += ["", f"{finding.state}: {finding.evidence}", f"  next: {finding.command}"]
        return "\n".join(
            [*lines, *([""] if self.notes else []), *(f"note: {note}" for note in self.notes)]
        )


def examine(run: Run, data_dir: Path | None = None) -> Diagnosis:
    """Diagnose a run, finished or not. Nothing is written.

    data_dir: where named data sets lie. run.gan: the user's own GAN file; without it, or without
    the data, the log alone is judged, with a note. Raises RunError for a run whose files are
    damaged.
    """
    lines, state = run.read_log(), run.load_state()
    seen = max(state["images_seen"] if state else 0, lines[-1]["images"] if lines else 0)
    finished = state is not None and state["images_seen"] >= run.card.plan.total
    stage: Stage = "training" if run.busy else "finished" if finished else "stopped"
    notes: list[str] = []
    patient = RunInfo(run.path, run.card, run.gan, data_dir, state=stage)
    if own := _own_networks(run, notes):
        patient = RunInfo.of(run.path, run.card, *own, run.gan, data_dir, stage)
        saved = state["images_seen"] if state else None  # what the figures of a checkup would be of
        if (
            lines
            and state
            and (saved == lines[-1]["images"] or not any("diversity" in line for line in lines))
        ):
            lines[-1] = lines[-1] | _checkup(run, *own, state, data_dir, notes)
    history = History()
    for line in lines:
        history.add(line)
    findings = diagnose(patient, history.marks)
    return Diagnosis(
        str(run.path),
        findings[0].state,
        findings,
        stage,
        seen,
        run.card.plan.total,
        lines[-1] if lines else {},
        notes,
    )


def _own_networks(run: Run, notes: list[str]) -> tuple[GanFile, Gan] | None:
    try:
        file = run.card.gan_file(run.gan)
        return file, file.build(run.card.settings(file).model, run.card.image, run.card.seed)
    except RunError as error:
        notes.append(f"the log alone was judged: {error}")
        return None


def _dataset(run: Run, data_dir: Path | None) -> Dataset:
    """The training images. Raises DataError where they are not there, or others."""
    card = run.card
    dataset = card.dataset(data_dir, fetch=False)
    if dataset.fingerprint != card.data.fingerprint:
        raise DataError(f"{card.data.what} holds other images than the run was trained on")
    return dataset


def _checkup(
    run: Run,
    file: GanFile,
    gan: Gan,
    state: Mapping[str, Any],
    data_dir: Path | None,
    notes: list[str],
) -> dict[str, float]:
    """Figures of the saved state."""
    try:
        dataset = _dataset(run, data_dir)
    except DataError as error:
        notes.append(f"the log alone was judged: {error}")
        return {}
    config = run.card.settings(file).train
    learner = Learner(gan, config, len(dataset), torch.device("cpu"))
    try:
        learner.load_state_dict(state["learner"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise RunError(
            f"{run.path} has a state.pt that does not fit ({' '.join(str(error).split())[:100]})"
        ) from None
    gan.generator = learner.sampled
    held_out = run.card.held_out(data_dir, notes.append)
    batches = Batches(dataset, learner, run.card.seed, run.card.data.flip)
    checkup = Checkup(learner, batches, Sampler(gan, dataset.classes), held_out)
    return checkup() | checkup.of_all()
