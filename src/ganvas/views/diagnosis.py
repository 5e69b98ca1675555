"""`ganvas doctor`: the doctor's rules applied to a run's log and a checkup of its saved state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganvas.doctor.log_summary import History, RunInfo, Stage
from ganvas.doctor.monitor import Finding, diagnose
from ganvas.errors import DataError, RunError
from ganvas.gan import Gan
from ganvas.recipe import TrainConfig
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
    card, lines, state = run.card, run.read_log(), run.load_state()
    saved, total, notes = state["images_seen"] if state else 0, card.plan.total, list[str]()
    stage: Stage = "training" if run.busy else "finished" if saved >= total else "stopped"
    info = RunInfo(run.path, card, run.gan, data_dir, stage=stage)
    try:
        file = card.gan_file(run.gan)
        gan = file.build(card.settings(file).model, card.image, card.seed)
    except RunError as error:
        notes.append(f"only the log was judged: {error}")
    else:
        info = RunInfo.of(run, file, gan, data_dir, stage)
        # a checkup of the saved state belongs to the line of the same moment
        never_checked = not any("diversity" in line for line in lines)
        if state and lines and (saved == lines[-1]["images"] or never_checked):
            lines[-1] = lines[-1] | _checkup(run, gan, info.train, state, data_dir, notes)
    findings = diagnose(info, History(lines).means)
    figures = lines[-1] if lines else {}
    seen = max(saved, figures.get("images", 0))
    path, first = str(run.path), findings[0].state
    return Diagnosis(path, first, findings, stage, seen, total, figures, notes)


def _checkup(
    run: Run,
    gan: Gan,
    config: TrainConfig,
    state: Mapping[str, Any],
    data_dir: Path | None,
    notes: list[str],
) -> dict[str, float]:
    """Return a checkup of the saved state; nothing, with a note, if the training images are missing
    or have changed."""
    try:
        dataset = run.card.dataset(data_dir, fetch=False)
        if dataset.fingerprint != run.card.data.fingerprint:
            raise DataError(f"{run.card.data.what} holds other images than the run was trained on")
    except DataError as error:
        notes.append(f"only the log was judged: {error}")
        return {}
    learner = Learner(gan, config, len(dataset), torch.device("cpu"))
    try:
        learner.load_state_dict(state["learner"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RunError(f"{run.path} has a state.pt that does not fit ({reason})") from None
    gan.generator = learner.sampled
    held_out = run.card.held_out(data_dir, notes.append)
    batches = Batches(dataset, learner, run.card.seed, run.card.data.flip)
    checkup = Checkup(
        learner, batches, Sampler(gan, dataset.classes, draw=run.card.latent_draw), held_out
    )
    return checkup() | checkup.of_all()
