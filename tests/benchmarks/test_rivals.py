"""The rivals of the table of pictures: their networks, their steps, and the command's files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rivals
from ganvas import data, gans
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec
from rival_loops import DEFAULTS, RIVALS, Options, Rival, batches, dcgan_networks, follow
from rival_networks import Critics, FastDiscriminator, FastGenerator, Pyramid, diffaugment

SMALL = {
    "dcgan": dataclasses.replace(DEFAULTS["dcgan"], batch=4, width=4),
    "fastgan": dataclasses.replace(DEFAULTS["fastgan"], batch=4, width=4),
    "projected": dataclasses.replace(DEFAULTS["projected"], batch=4, width=4, pixels=64),
}


def pictures(count: int) -> torch.Tensor:
    """Random images uint8 (count, 3, 64, 64)."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=random)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.npz"
    np.savez(path, images=pictures(8).permute(0, 2, 3, 1).numpy())
    return path


@pytest.fixture(params=SMALL)
def rival(request: pytest.FixtureRequest) -> Rival:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return RIVALS[request.param](pictures(8), SMALL[request.param])


def copied(network: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def test_a_step_moves_all_trained_weights_and_no_frozen_one(rival: Rival) -> None:
    before = {name: copied(each) for name, each in (rival.trained | rival.frozen).items()}
    step = next(rival.steps)
    assert step.images == 4
    for name, network in rival.trained.items():
        for old, new in zip(before[name], network.parameters(), strict=True):
            assert not torch.equal(old, new), name
    for name, network in rival.frozen.items():
        for old, new in zip(before[name], network.parameters(), strict=True):
            assert torch.equal(old, new), name


def test_samples_are_the_same_in_every_call(rival: Rival, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "SETTLING_BATCHES", 2)
    monkeypatch.setattr(rivals, "BATCH_OF_SAMPLES", 4)
    next(rival.steps)
    few, more = rivals.samples(rival, 3, seed=1), rivals.samples(rival, 6, seed=1)
    assert more.shape == (6, 64, 64, 3)
    assert more.dtype == torch.uint8
    assert torch.equal(few, more[:3])


@pytest.mark.parametrize("name", ["fastgan", "projected"])
def test_batchnorm_settles_to_the_averages_own_images(name: str) -> None:
    rival = RIVALS[name](pictures(8), SMALL[name])
    noise = iter([torch.randn(4, rival.z_dim), torch.randn(4, rival.z_dim)])
    norm = layers(rival.generator, nn.BatchNorm2d)[0]
    inputs = []
    norm.register_forward_hook(lambda module, args, output: inputs.append(args[0].detach()))
    rivals.settle(rival.generator, noise, batches=2)
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs])
    assert torch.allclose(norm.running_mean, means.mean(0), atol=1e-5)
    assert not norm.training


def test_dcgan_is_the_recipe() -> None:
    _, file, recipe = gans.find_recipe("dcgan/64")
    assert DEFAULTS["dcgan"].width == recipe.model.width
    assert DEFAULTS["dcgan"].batch == recipe.train.batch
    spec = ImageSpec(height=64, width=64, channels=3)
    gan: Gan = file.build(dataclasses.replace(recipe.model, width=4), spec)
    generator, discriminator = dcgan_networks(4)
    for plain, ours in ((generator, gan.generator), (discriminator, gan.discriminator)):
        for kind in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d):
            pairs = zip(layers(plain, kind), layers(ours, kind), strict=True)
            for mine, its in pairs:
                mine.load_state_dict(its.state_dict())
    z, images = torch.randn(4, 100), torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(generator(z), gan.generator(z), atol=1e-5)
        logits = discriminator(images).squeeze(1)
        assert torch.allclose(logits, gan.discriminator(images), atol=1e-5)


def layers(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [each for each in network.modules() if isinstance(each, kind)]


def test_an_epoch_has_each_image_once() -> None:
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 3, 2, 2) * 36
    drawn = batches(images, 4)
    for _ in range(2):
        epoch = torch.cat([next(drawn), next(drawn)])[:, 0, 0, 0]
        assert torch.equal(epoch.sort().values, images[:, 0, 0, 0].float() / 127.5 - 1)


def test_a_batch_larger_than_the_set_repeats_images() -> None:
    batch = next(batches(pictures(3), 8))
    assert batch.shape == (8, 3, 64, 64)
    assert len(batch.unique(dim=0)) == 3


def test_diffaugment_moves_covers_and_recolours() -> None:
    torch.manual_seed(0)
    images = torch.full((200, 3, 64, 64), 0.7).requires_grad_()
    augmented = diffaugment(images)
    shown = (augmented != 0).all(1)
    # at least all but a box of half of each side and eight pixels along two edges
    assert shown.sum((1, 2)).min() >= 56 * 56 - 32 * 32
    assert shown[:, :8].float().mean() < shown[:, 16:24].float().mean()
    colours = augmented[:, 0].flatten(1).amax(1)
    assert colours.min() < 0.3
    assert colours.max() > 1.1
    augmented.sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


def test_fastgans_discriminator_judges_two_resolutions_and_learns_to_rebuild() -> None:
    torch.manual_seed(0)
    discriminator = FastDiscriminator(2)
    images = torch.linspace(-1, 1, 64).expand(4, 3, 64, 64).contiguous()
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        logits, encoded = discriminator(images)
        loss = discriminator.rebuilding_loss(images, encoded)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert logits.shape == (4, 50)
    assert losses[-1] < 0.8 * losses[0]


def test_fastgans_small_map_scales_channels_of_the_large_one() -> None:
    generator = FastGenerator(2)
    small, large = torch.randn(3, 32, 4, 4), torch.ones(3, 2, 64, 64)
    with torch.no_grad():
        scaled = generator.excitation(small, large)
    assert torch.equal(scaled, scaled[:, :, :1, :1].expand_as(scaled))
    assert 0 < scaled.min() < scaled.max() < 1


@pytest.mark.parametrize("pixels", [64, 128])
def test_projected_gans_features_pass_gradients(pixels: int) -> None:
    images = torch.rand(2, 3, 64, 64).requires_grad_()
    maps = Pyramid(pixels)(images)
    sides = [pixels // 2, pixels // 4, pixels // 8, pixels // 16]
    assert [x.shape for x in maps] == [
        (2, channels, side, side) for channels, side in zip(Pyramid.widths, sides, strict=True)
    ]
    for x in maps:
        (gradient,) = torch.autograd.grad(x.square().sum(), images, retain_graph=True)
        assert gradient.abs().max() > 0


def test_the_average_follows_the_generator() -> None:
    mean, learnt = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
    nn.init.constant_(learnt.weight, 3.0)
    nn.init.constant_(learnt.running_mean, 5.0)
    follow(mean, learnt, 0.75)
    assert mean.weight.item() == 1.5
    assert mean.running_mean is not None
    assert mean.running_mean.item() == 5.0


def command(out: Path, archive: Path, *more: str) -> list[str]:
    fixed = ["dcgan", "--data", str(archive), "--minutes", "1e-6", "--out", str(out)]
    return [*fixed, "--batch", "4", "--width", "4", *more]


def test_the_command_writes_samples_a_sheet_and_the_cost(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "SAMPLES", 5)
    out = tmp_path / "out"
    assert rivals.main(command(out, archive, "--seed", "3")) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "result.json",
        "samples.npz",
        "sheet.png",
    ]
    made = data.load_dataset(out / "samples.npz")
    assert made.images.shape == (5, 3, 64, 64)
    report = json.loads((out / "result.json").read_text())
    assert report["images_seen"] == 4 * report["steps"] > 0
    assert report["images_per_second"] == pytest.approx(report["images_seen"] / report["seconds"])
    assert report["torch"] == str(torch.__version__)
    assert (report["threads"], report["seed"], report["training_images"]) == (1, 3, 8)
    assert report["options"] == {"batch": 4, "width": 4, "pixels": None}
    assert set(report["parameters"]) == {"generator", "discriminator"}


def test_the_command_refuses_what_it_cannot_do(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    grey = tmp_path / "grey.npz"
    np.savez(grey, images=np.zeros((4, 28, 28), np.uint8))
    for arguments, words in (
        (command(out, grey), "28x28 with 1 channels"),
        (command(out, archive, "--pixels", "64"), "--pixels 64 is for projected, not dcgan"),
        (command(tmp_path, archive), "give a new folder"),
        (command(archive / "out", archive), "cannot write"),
        (command(out, tmp_path / "none.npz"), "no file or folder"),
    ):
        assert rivals.main(arguments) == 2
        printed = capsys.readouterr().err
        assert words in printed
        assert len(printed.splitlines()) == 1
        assert not out.exists()


def test_a_loss_that_is_not_finite_ends_the_training(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = RIVALS["dcgan"]

    def broken(images: torch.Tensor, options: Options) -> Rival:
        rival = make(images, options)
        nn.init.constant_(next(rival.generator.parameters()), float("nan"))
        return rival

    monkeypatch.setitem(rivals.RIVALS, "dcgan", broken)
    out = tmp_path / "out"
    assert rivals.main(command(out, archive)) == 2
    assert not out.exists()


@pytest.mark.parametrize("pixels", [64, 128])
def test_projected_gans_discriminators_each_give_16_logits(pixels: int) -> None:
    sides = [pixels // 2, pixels // 4, pixels // 8, pixels // 16]
    maps = [
        torch.randn(2, channels, side, side)
        for channels, side in zip(Pyramid.widths, sides, strict=True)
    ]
    discriminators = Critics(pixels)
    with torch.no_grad():
        assert discriminators(maps).shape == (2, 4 * 16)
    for each in discriminators.each:
        assert len(layers(each, nn.Conv2d)) >= 2
        assert layers(each, nn.BatchNorm2d)
