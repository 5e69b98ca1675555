"""`ganvas doctor`: the doctor's rules applied to a run's log and a checkup of its saved state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganvas.data.dataset import Dataset
from ganvas.doctor.log_summary import History
from ganvas.doctor.monitor import Finding, diagnose
from ganvas.doctor.remedies import RunInfo, Stage
from ganvas.errors import DataError, RunError
from ganvas.gan import Gan, GanFile
from ganvas.runs.run import Run
from ganvas.sampling.sampler import Sampler
from ganvas.training.batches import Batches
from ganvas.training.checkup import Checkup
from ganvas.training.learner import Learner


@dataclass(frozen=True)
class Diagnosis:
    """The findings of the doctor for a run.

    run: path of the run.
    state: the state of the first finding.
    stage: training, stopped or finished.
    images_seen: up to the end of the log or the saved state.
    planned: images of the whole training.
    figures: the newest line of the log, with the checkup.
    notes: what could not be examined, and why.
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
        seen = f"{self.images_seen:,} of {self.planned:,} images seen"
        lines = [f"{self.run}: {self.state} ({self.stage}, {seen})"]
        for finding in self.findings:
            lines += ["", f"{finding.state}: {finding.evidence}", f"  next: {finding.command}"]
        if self.notes:
            lines += ["", *(f"note: {note}" for note in self.notes)]
        return "\n".join(lines)


def examine(run: Run, data_dir: Path | None = None) -> Diagnosis:
    """Diagnose a run, finished or not, without writing anything.

    run: with `run.gan`, the path of the user's own GAN file, if it has one. Without that file or
        without the data, the log alone is judged, with a note.
    data_dir: the folder of named data sets.

    Raises RunError for a run whose files are damaged.
    """
    lines, state = run.read_log(), run.load_state()
    saved = state["images_seen"] if state else 0
    stage: Stage = "stopped"
    if run.busy:
        stage = "training"
    elif state and saved >= run.card.plan.total:
        stage = "finished"
    notes: list[str] = []
    info = RunInfo(run.path, run.card, run.gan, data_dir, stage=stage)
    if networks := _networks(run, notes):
        info = RunInfo.of(run, *networks, data_dir, stage)
        # a checkup of the saved state belongs to the line of the same moment
        never_checked = not any("diversity" in line for line in lines)
        if state and lines and (saved == lines[-1]["images"] or never_checked):
            lines[-1] = lines[-1] | _checkup(run, *networks, state, data_dir, notes)
    history = History()
    for line in lines:
        history.add(line)
    findings = diagnose(info, history.means)
    return Diagnosis(
        run=str(run.path),
        state=findings[0].state,
        findings=findings,
        stage=stage,
        images_seen=max(saved, lines[-1]["images"] if lines else 0),
        planned=run.card.plan.total,
        figures=lines[-1] if lines else {},
        notes=notes,
    )


def _networks(run: Run, notes: list[str]) -> tuple[GanFile, Gan] | None:
    """Build the run's networks; None, with a note, without the user's own GAN file."""
    try:
        file = run.card.gan_file(run.gan)
        return file, file.build(run.card.settings(file).model, run.card.image, run.card.seed)
    except RunError as error:
        notes.append(f"only the log was judged: {error}")
        return None


def _dataset(run: Run, data_dir: Path | None) -> Dataset:
    """Read the training images. Raises DataError if they are missing or have changed."""
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
    """Return a checkup of the saved state; nothing, with a note, without the data."""
    try:
        dataset = _dataset(run, data_dir)
    except DataError as error:
        notes.append(f"only the log was judged: {error}")
        return {}
    config = run.card.settings(file).train
    learner = Learner(gan, config, len(dataset), torch.device("cpu"))
    try:
        learner.load_state_dict(state["learner"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RunError(f"{run.path} has a state.pt that does not fit ({reason})") from None
    gan.generator = learner.sampled
    held_out = run.card.held_out(data_dir, notes.append)
    batches = Batches(dataset, learner, run.card.seed, run.card.data.flip)
    checkup = Checkup(learner, batches, Sampler(gan, dataset.classes), held_out)
    return checkup() | checkup.of_all()
