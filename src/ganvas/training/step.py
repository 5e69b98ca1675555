"""One training step of both networks: passes, losses, optimizers. Read it after gans/dcgan."""

from __future__ import annotations

import torch
from torch import Tensor

from ganvas.gan import Logits
from ganvas.layers import dropout
from ganvas.layers.dense import Aside, DensePass
from ganvas.layers.passes import Pass
from ganvas.training import augment
from ganvas.training.batches import Batch
from ganvas.training.learner import Learner, ShownImages


@torch.no_grad()
def step(learner: Learner, batch: Batch) -> Logits:
    """Change both networks once. Returns what D said on the way."""
    if learner.together:
        return joint_step(learner, batch)
    fakes, made = _fakes(learner, batch)
    if learner.config.order == "g-first":
        g_logits = g_step(learner, batch, made)
        return Logits(*d_step(learner, batch, fakes), *g_logits)
    d_logits = d_step(learner, batch, fakes)
    return Logits(*d_logits, *g_step(learner, batch, made))


def d_step(learner: Learner, batch: Batch, fakes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Train D on real images and fakes (made here unless given). Returns its logits of both, before
    the update."""
    gan = learner.gan
    if fakes is None:
        fakes = learner.fakes(batch.d_z, batch.d_labels)
    if gan.joint:
        judged = [_judge_both(learner, batch, fakes)]
        real, fake = judged[0].output.float().split([len(batch.real), len(fakes)])
    else:
        dropout.set_groups(learner.d_dropouts, 1)
        judged = [
            learner.judge(augment.apply(batch.real, batch.real_changes), batch.real_labels),
            learner.judge(augment.apply(fakes, batch.d_changes), batch.d_labels),
        ]
        real, fake = (one.output.float() for one in judged)
    gradients = gan.objective.d_gradient(real, fake)
    for one, gradient in zip(
        judged, [torch.cat(gradients)] if gan.joint else gradients, strict=True
    ):
        gradient = learner.scaled(gradient, learner.config.d_loss_scale / len(real))
        one.to_weights(gradient, add=one is not judged[0])
    _penalise(learner, batch, fakes)
    learner.update(learner.d_optimizer)
    return real, fake


def g_step(learner: Learner, batch: Batch, made: Pass | None) -> tuple[Tensor, Tensor | None]:
    """Train G on what D says of its fakes (made here unless given). Returns D's logits of fakes,
    and of real images where the objective needs them."""
    gan, real = learner.gan, None
    dropout.set_groups(learner.d_dropouts, 1)
    made = made or learner.make(batch.g_z, batch.g_labels)
    judged = learner.judge(augment.apply(made.output, batch.g_changes), batch.g_labels)
    fake = judged.output.float()
    if gan.objective.paired:
        with learner.autocast():
            real = gan.judge(
                augment.apply(batch.real, batch.real_changes), batch.real_labels
            ).float()
    gradient = gan.objective.g_gradient(real, fake)
    made.to_weights(
        augment.backward(judged.to_input(learner.scaled(gradient, 1 / len(fake))), batch.g_changes)
    )
    learner.update(learner.g_optimizer)
    return fake, real


def joint_step(learner: Learner, batch: Batch) -> Logits:
    """Train both networks on one pass of each: G's gradient is D's at the fakes, times what the two
    losses' derivatives by the logit differ by (Shen et al. 2021, arXiv 2103.00430, section 3)."""
    objective = learner.gan.objective
    assert objective.g_over_d_grad is not None
    made = learner.make(batch.d_z, batch.d_labels)
    judged = _judge_both(learner, batch, made.output)
    real, fake = judged.output.float().split([len(batch.real), len(made.output)])
    by_images = judged.to_both(
        learner.scaled(torch.cat(objective.d_gradient(real, fake)), 1 / len(real))
    )
    _penalise(learner, batch, made.output)
    learner.update(learner.d_optimizer)
    g_over_d_grad = objective.g_over_d_grad(real, fake).view(-1, *[1] * (made.output.ndim - 1))
    made.to_weights(augment.backward(by_images[len(real) :] * g_over_d_grad, batch.d_changes))
    learner.update(learner.g_optimizer)
    return Logits(real, fake, fake, real if objective.paired else None)


def _judge_both(learner: Learner, batch: Batch, fakes: Tensor) -> Pass:
    """One pass of D over real images and fakes, in this order, as D is shown them."""
    labels = None
    if batch.real_labels is not None and batch.d_labels is not None:
        labels = torch.cat([batch.real_labels, batch.d_labels])
    dropout.set_groups(learner.d_dropouts, 2)
    images = [augment.apply(batch.real, batch.real_changes), augment.apply(fakes, batch.d_changes)]
    return learner.judge(torch.cat(images), labels)


def _penalise(learner: Learner, batch: Batch, fakes: Tensor) -> None:
    """In steps with a penalty on D's slope, by the images before they are augmented: add its
    gradients to D's."""
    if batch.mix is not None:
        dropout.set_groups(learner.d_dropouts, 1)
        real = ShownImages(batch.real, batch.real_labels, batch.real_changes)
        learner.penalise(real, ShownImages(fakes, batch.d_labels, batch.d_changes), batch.mix)


def _fakes(learner: Learner, batch: Batch) -> tuple[Tensor | None, Pass | None]:
    """Both steps' fakes, where one pass of G can make them."""
    config = learner.config
    if config.g_fakes == "same":
        made = learner.make(batch.d_z, batch.d_labels)
        return made.output, made
    if config.order == "d-first" and learner.divisible:  # G does not change between
        labels = (
            None
            if batch.d_labels is None or batch.g_labels is None
            else torch.cat([batch.d_labels, batch.g_labels])
        )
        aside = Aside(len(batch.d_z), training=config.d_fakes == "training")
        both: DensePass = learner.g_pass(torch.cat([batch.d_z, batch.g_z]), labels, aside)
        return both.aside, both
    return None, None
