"""One training step of both networks: passes, losses, optimizers. Read it after gans/dcgan.py.

Every step here has the same four parts: run the networks on a batch (`learner.make`,
`learner.judge`), take the gradient of the objective with respect to D's logits, pull it back
through the passes to the weights, and let the optimizer update them. The losses themselves are
computed later, from the logits that a step returns, for the log.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganvas.gan import Logits, Pass
from ganvas.training import augment
from ganvas.training.batches import Batch
from ganvas.training.learner import Learner


@torch.no_grad()
def step(learner: Learner, batch: Batch) -> Logits:
    """Update both networks once. Returns D's logits, each taken before the update that uses it."""
    if learner.one_stage:
        return one_stage_step(learner, batch)
    d_fakes, g_pass = learner.make_fakes(batch)
    if learner.config.order == "g-first":
        g_logits = g_step(learner, batch, g_pass)
        d_logits = d_step(learner, batch, d_fakes)
    else:
        d_logits = d_step(learner, batch, d_fakes)
        g_logits = g_step(learner, batch, g_pass)
    return Logits(*d_logits, *g_logits)


def d_step(learner: Learner, batch: Batch, fakes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Update D on real images and fakes. Returns its logits of both.

    fakes: images (N, C, H, W); None to make them here.
    """
    if fakes is None:
        fakes = learner.fakes(batch.d_z, batch.d_labels)
    # One pass over real and fake images costs less than two, but BatchNorm in D would mix them.
    if learner.gan.joint:
        passes = [_judge_both(learner, batch, fakes)]
    else:
        passes = [
            learner.judge(augment.apply(batch.real, batch.real_changes), batch.real_labels),
            learner.judge(augment.apply(fakes, batch.d_changes), batch.d_labels),
        ]
    logits = torch.cat([each.output.float() for each in passes])
    real, fake = logits.split([len(batch.real), len(fakes)])

    gradient = torch.cat(learner.gan.objective.d_gradient(real, fake))
    gradient = learner.scaled(gradient, learner.config.d_loss_scale / len(real))
    parts = gradient.split([len(each.output) for each in passes])
    for each, part in zip(passes, parts, strict=True):
        each.to_weights(part, add=each is not passes[0])
    if batch.mix is not None:
        learner.penalise(batch, fakes)
    learner.update(learner.d_optimizer)
    return real, fake


def g_step(learner: Learner, batch: Batch, g_pass: Pass | None) -> tuple[Tensor, Tensor | None]:
    """Update G through D's judgement of its fakes. Returns D's logits of them and, for a paired
    objective, of real images (else None).

    g_pass: the pass of G that made the fakes; None to make them here.
    """
    objective = learner.gan.objective
    g_pass = g_pass or learner.make(batch.g_z, batch.g_labels)
    d_pass = learner.judge(augment.apply(g_pass.output, batch.g_changes), batch.g_labels)
    fake, real = d_pass.output.float(), None
    if objective.paired:
        shown = augment.apply(batch.real, batch.real_changes)
        real = learner.logits(shown, batch.real_labels)

    gradient = learner.scaled(objective.g_gradient(real, fake), 1 / len(fake))
    by_fakes = augment.backward(d_pass.to_input(gradient), batch.g_changes)
    g_pass.to_weights(by_fakes)
    learner.update(learner.g_optimizer)
    return fake, real


def one_stage_step(learner: Learner, batch: Batch) -> Logits:
    """Update both networks from one pass of each (Shen et al. 2021, arXiv 2103.00430, section 3).

    With respect to each fake, the gradient of G's loss is that of D's loss times the ratio of the
    two losses' derivatives with respect to the fake's logit (`Objective.g_over_d_grad`).
    """
    objective = learner.gan.objective
    assert objective.g_over_d_grad is not None
    g_pass = learner.make(batch.d_z, batch.d_labels)
    fakes = g_pass.output
    d_pass = _judge_both(learner, batch, fakes)
    real, fake = d_pass.output.float().split([len(batch.real), len(fakes)])

    gradient = learner.scaled(torch.cat(objective.d_gradient(real, fake)), 1 / len(real))
    by_fakes = d_pass.to_both(gradient)[-len(fakes) :]
    if batch.mix is not None:
        learner.penalise(batch, fakes)
    learner.update(learner.d_optimizer)

    ratio = objective.g_over_d_grad(real, fake).view(-1, *[1] * (fakes.ndim - 1))
    g_pass.to_weights(augment.backward(by_fakes * ratio, batch.d_changes))
    learner.update(learner.g_optimizer)
    return Logits(real, fake, fake, real if objective.paired else None)


def _judge_both(learner: Learner, batch: Batch, fakes: Tensor) -> Pass:
    """Run D once over real images and fakes, in this order, augmented."""
    labels = None
    if batch.real_labels is not None and batch.d_labels is not None:
        labels = torch.cat([batch.real_labels, batch.d_labels])
    real = augment.apply(batch.real, batch.real_changes)
    fakes = augment.apply(fakes, batch.d_changes)
    return learner.judge_both(real, fakes, labels)
