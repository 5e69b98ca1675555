"""r3gan: networks for any image, objectives, presets by minutes, the faster precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganvas import gans, objectives
from ganvas.errors import SettingError
from ganvas.gans.r3gan import Config, Stem, build, halvings
from ganvas.launch import job, launch
from ganvas.overrides import override, with_preset
from ganvas.recipe import ImageSpec, Recipe
from ganvas.runs.request import Request
from ganvas.runs.run import Run
from ganvas.training import benchmark, preflight

pytestmark = pytest.mark.usefixtures("steady")

SMALL = Config(z_dim=6, width=4, embedding=3)


def spec(height: int, width: int, channels: Any, *classes: str) -> ImageSpec:
    return ImageSpec(height=height, width=width, channels=channels, classes=classes)


class TestNetworks:
    @pytest.mark.parametrize("blocks", [0, 1])
    @pytest.mark.parametrize(
        "image",
        [
            spec(28, 28, 1, "a", "b"),
            spec(31, 50, 3),
            spec(64, 64, 3, "a"),
            spec(4, 4, 1),
            spec(17, 90, 4),
            spec(5, 4, 1),
        ],
        ids=str,
    )
    def test_images_of_any_size_go_in_and_come_out(self, image: ImageSpec, blocks: int) -> None:
        gan = build(Config(z_dim=6, width=4, embedding=3, blocks=blocks), image)
        labels = torch.zeros(3, dtype=torch.int64) if image.classes else None
        assert gan.conditional == bool(image.classes)
        images = gan.make(torch.randn(3, 6), labels)
        assert images.shape == (3, image.channels, image.height, image.width)
        assert images.abs().max() <= 1
        images = torch.randn(images.shape, requires_grad=True)
        logits = gan.judge(images, labels)
        assert logits.shape == (3,)
        (slope,) = torch.autograd.grad(logits.sum(), images)
        assert (slope.abs().amax((0, 1)) > 0).all()  # no pixel is cut off unseen

    def test_labels_can_be_left_out(self) -> None:
        gan = build(Config(z_dim=6, width=4, labels=False), spec(8, 8, 1, "a", "b"))
        assert not gan.conditional
        assert gan.judge(gan.make(torch.randn(2, 6), None), None).shape == (2,)

    @pytest.mark.parametrize(
        ("side", "times"), [(4, 1), (8, 1), (9, 1), (16, 1), (28, 2), (32, 2), (64, 3), (256, 5)]
    )
    def test_images_are_halved_to_about_eight_pixels(self, side: int, times: int) -> None:
        assert halvings(spec(side, 2 * side, 3)) == times

    def test_images_below_four_pixels_are_refused(self) -> None:
        with pytest.raises(SettingError, match="3x8: use --size 4"):
            build(SMALL, spec(3, 8, 1))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_stem_is_a_convolution_in_value_gradient_and_second_gradient(
        self, channels: int
    ) -> None:
        stem = Stem(channels, 5, 12, 8).double()
        plain = nn.Conv2d(channels, 5, 4, 2, 1).double()
        plain.load_state_dict(stem.state_dict())
        results = []
        for layer in (stem, plain):
            images = (
                torch.linspace(-1, 1, 3 * channels * 96, dtype=torch.float64)
                .view(3, channels, 12, 8)
                .requires_grad_()
            )
            out = layer(images)
            assert out.shape == (3, 5, 6, 4)
            (slope,) = torch.autograd.grad(out.sin().sum(), images, create_graph=True)
            weights = torch.autograd.grad(slope.square().sum(), list(layer.parameters()))
            results.append([out, slope, *weights])
        for result, expected in zip(*results, strict=True):
            torch.testing.assert_close(result, expected)

    def test_residual_blocks_begin_as_the_identity(self) -> None:
        gan = build(Config(z_dim=6, width=4, blocks=1), spec(8, 8, 1))
        blocks = [m for m in gan.discriminator.modules() if type(m).__name__ == "Block"]
        assert blocks
        x = torch.randn(2, 8, 4, 4)
        assert torch.equal(blocks[0](x), x)


class TestObjectives:
    @pytest.mark.parametrize(
        "name", ["minimax", "least_squares", "hinge", "wasserstein", "relativistic"]
    )
    @pytest.mark.parametrize("gan", ["r3gan", "sngan"])
    def test_the_objective_is_a_setting(self, gan: str, name: str) -> None:
        file = gans.load_gan(gan)
        recipe = override(file.recipes["tiny"], {"objective": name})
        assert file.build(recipe.model, recipe.native).objective is getattr(objectives, name)

    def test_an_unknown_one_is_refused_with_the_names_of_all(self) -> None:
        with pytest.raises(
            SettingError, match=r"model\.objective: .hing. is none of minimax, least_squares, hinge"
        ):
            override(gans.load_gan("r3gan").recipes["tiny"], {"objective": "hing"})

    @pytest.mark.parametrize("path", ["objective", "model.objective"])
    def test_a_gan_with_one_objective_alone_says_so_and_names_others(self, path: str) -> None:
        with pytest.raises(
            SettingError,
            match=f"unknown setting {path}: this GAN has one .* r3gan and sngan take others",
        ):
            override(gans.load_gan("wgan-gp").recipes["tiny"], {path: "hinge"})
        takes = [
            name
            for name in gans.gan_names()
            if hasattr(gans.load_gan(name).recipes["tiny"].model, "objective")
        ]
        assert takes == ["r3gan", "sngan"]

    @pytest.mark.parametrize("recipe", ["sngan/tiny", "r3gan/tiny"])
    def test_a_relativistic_one_needs_a_real_image_for_each_fake(
        self, recipe: str, cli_run: Callable[..., Any]
    ) -> None:
        options = ["objective=relativistic", "g_batch=16", "order=d-first", "g_fakes=fresh"]
        message = cli_run("train", recipe, "--images", 32, "--set", *options).error
        assert "train.g_batch=16" in message
        assert "train.batch=8: leave g_batch out" in message
        assert (
            cli_run("train", recipe, "--images", 32, "--set", "objective=hinge", *options[1:]).code
            == 0
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--set", "objective=hinge"], "no multiple of that for the other; D is trained first"),
            (["--precision", "fp16"], "fp16 has too narrow a range for it; D is trained first"),
            ([], ""),
        ],
    )
    def test_a_notice_says_why_networks_are_not_trained_together(
        self, options: list[str], message: str, cli_run: Callable[..., Any]
    ) -> None:
        err = cli_run("train", "r3gan/tiny", "--images", 16, "--threads", 1, *options).err
        assert message in err
        assert ("train.order='together'" in err) == bool(message)

    def test_wgan_gp_penalises_the_slope_between_with_the_papers_weight(
        self, cli_run: Callable[..., Any]
    ) -> None:
        done = cli_run("train", "wgan-gp/tiny", "--images", 64, "--out", "run")
        assert "gamma 10" in done.err
        train = Run.open("run").card.train
        assert (train["penalty"], train["gamma"], train["penalty_every"]) == ("gradient", 10.0, 1)


class TestPresets:
    @pytest.mark.parametrize(
        ("minutes", "blocks"), [(0.2, 0), (1, 0), (5, 0), (25, 0), (38, 0), (39, 1), (600, 1)]
    )
    def test_the_nearest_by_ratio_is_taken(self, minutes: float, blocks: int) -> None:
        recipe = gans.load_gan("r3gan").recipes["digits"]
        assert override(recipe, recipe.preset(minutes)[1]).model.blocks == blocks

    def test_a_recipe_without_presets_is_unchanged(self) -> None:
        assert gans.load_gan("cgan").recipes["digits"].preset(3) == (3, {})

    @pytest.fixture
    def planned(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
        """The recipe that a training would have."""

        def plan(**request: Any) -> Recipe:
            wanted: list[Recipe] = []

            def stop(*arguments: Any) -> None:
                wanted.append(preflight.prepare(*arguments).recipe)
                raise ZeroDivisionError

            monkeypatch.setattr(job, "prepare", stop)
            with pytest.raises(ZeroDivisionError):
                launch.train(quiet=True, **request)
            return wanted[0]

        return plan

    def test_minutes_choose_it_and_settings_come_before_it(
        self, planned: Callable[..., Recipe]
    ) -> None:
        assert planned(minutes=1).model == Config()
        assert [planned(minutes=minutes).train.lr.end for minutes in (0.5, 1, 2, 2.1, 5)] == [
            5e-4,
            5e-4,
            5e-4,
            1e-4,
            1e-4,
        ]
        assert [planned(minutes=minutes).train.gamma for minutes in (1, 5, 60)] == pytest.approx(
            [0.1, 0.4, 0.4]
        )
        assert planned(minutes=1, settings={"gamma": 3}).train.gamma == 3
        hour = planned(minutes=60)
        assert hour.model == Config(blocks=1)
        assert (hour.train.lr.start, hour.train.lr.end, hour.train.lr.warmup) == (4e-4, 4e-5, 0.05)
        # A preset's rates are for its networks: where either is given, neither is taken.
        assert planned(minutes=60, settings={"blocks": 0}).train.lr.start == 2e-3
        assert planned(minutes=60, settings={"lr.start": 3e-3}).model == Config()
        assert planned(minutes=60, settings={"lr": 1e-4}).model == Config()
        assert planned(minutes=60, settings={"blocks": 1, "batch": 64}).train.lr.start == 4e-4
        assert planned(minutes=1, settings={"width": 20}).model.width == 20
        assert planned(minutes=1, settings={"z_dim": 20}).model == Config(z_dim=20, width=16)
        assert planned(images=100).model == Config()
        assert planned().model == Config()  # the recipe's own length is five minutes

    @pytest.mark.parametrize(
        ("changes", "note"),
        [
            ({}, "settings for about 60 minutes: model.width=48, train.batch=64"),
            ({"width": 48}, "settings for about 60 minutes: model.width=48, train.batch=64"),
            (
                {"width": 20},
                "the settings for about 60 minutes are left out, for model.width is given",
            ),
            (
                {"model": {"width": 20}, "train.batch": 8},
                (
                    "the settings for about 60 minutes are left out, for model.width, train.batch"
                    " is given"
                ),
            ),
            (
                {"width": 48, "batch": 8},
                "the settings for about 60 minutes are left out, for train.batch is given",
            ),
            (
                {"train": {"lr": 1.0, "batch": 8}},
                "the settings for about 60 minutes are left out, for train.batch is given",
            ),
        ],
    )
    def test_the_note_says_what_is_in_the_recipe(self, changes: dict[str, Any], note: str) -> None:
        recipe = replace(
            gans.load_gan("r3gan").recipes["digits"],
            presets={60: {"model.width": 48, "train.batch": 64}},
        )
        assert with_preset(recipe, changes, "60 minutes")[1] == note

    def test_the_note_names_the_setting_that_resets_a_presets(self) -> None:
        recipe = gans.load_gan("r3gan").recipes["digits"]
        note = with_preset(recipe, {"width": 20, "lr.shape": "constant"}, "60 minutes")[1]
        assert note == "the settings for about 60 minutes are left out, for train.lr.shape is given"

    @pytest.mark.parametrize(
        ("device", "changes", "batch", "width", "note"),
        [
            ("cpu", {}, 8, 16, ""),
            ("cuda", {}, 32, 32, "settings for a GPU: train.batch=32, model.width=32"),
            ("mps", {"heads": 32}, 32, 32, "settings for a GPU: train.batch=32"),
            ("cuda", {"batch": 16}, 16, 16, "settings for a GPU are left out, for train.batch is"),
        ],
    )
    def test_a_gpu_has_settings_of_its_own(
        self, device: str, changes: dict[str, Any], batch: int, width: int, note: str
    ) -> None:
        recipe = gans.load_gan("projected").recipes["images"]
        on_device, said = with_preset(recipe, changes, "60 minutes", device)
        assert (on_device.train.batch, on_device.model.width) == (batch, width)
        assert note in said
        assert bool(note) == bool(said)

    def test_a_gpus_settings_come_on_top_of_a_lengths(self) -> None:
        recipe = gans.load_gan("r3gan").recipes["digits"]
        recipe = replace(recipe, presets={60: {"model.width": 48}}, gpu={"train.batch": 128})
        both, note = with_preset(recipe, {}, "60 minutes", "cuda")
        assert (both.model.width, both.train.batch) == (48, 128)
        assert note == (
            "settings for about 60 minutes: model.width=48; settings for a GPU: train.batch=128"
        )
        kept, note = with_preset(recipe, {"width": 20}, "60 minutes", "cuda")
        assert (kept.model.width, kept.train.batch) == (20, 128)
        assert "for about 60 minutes are left out" in note

    def test_a_repeated_run_has_its_own_settings(
        self, planned: Callable[..., Recipe], tmp_path: Path
    ) -> None:
        run = launch.train("r3gan/tiny", images=16, quiet=True, threads=1)
        assert (
            planned(config=run.path / "recipe.json").model
            == run.card.settings(gans.load_gan("r3gan")).model
        )


class TestPrecision:
    @pytest.fixture
    def timed(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
        """Seconds of a step, as if measured, by precision."""
        seconds = {"32": 1.0, "bf16": 1.0}

        def step(self: benchmark.Warmup, *_: float) -> float:
            return seconds["32" if self.learner.autocast_dtype is None else "bf16"]

        monkeypatch.setattr(benchmark.Warmup, "seconds_per_step", step)
        return seconds

    @pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.95, "32"), (2.0, "32")])
    def test_sixteen_bits_are_taken_where_they_are_clearly_faster(
        self, timed: dict[str, float], bf16: float, chosen: str
    ) -> None:
        timed["bf16"] = bf16
        request = Request(recipe="r3gan/tiny", settings={"precision": "fastest", "gamma": 1})
        prepared = preflight.prepare(request, "cpu")
        choice = benchmark.choose(prepared, threads=1)
        assert (choice.precision, choice.threads) == (chosen, 1)
        assert choice.seconds == min(1.0, bf16) or chosen == "32"
        assert benchmark.choose(prepared, threads=1, precision="32").precision == "32"

    def test_other_recipes_stay_at_32(self, timed: dict[str, float]) -> None:
        timed["bf16"] = 0.1
        prepared = preflight.prepare(Request(recipe="cgan/tiny"), "cpu")
        assert benchmark.choose(prepared, threads=1).precision == "32"

    def test_it_is_measured_once_and_stored(
        self, timed: dict[str, float], cli_run: Callable[..., Any]
    ) -> None:
        timed["bf16"] = 0.5
        command = (
            "train",
            "r3gan/tiny",
            "--set",
            "train.precision=fastest",
            "--images",
            64,
            "--threads",
            1,
            "--out",
            "run",
        )
        cli_run(*command)
        assert Run.open("run").card.precision == "bf16"
        timed["bf16"] = 2.0
        assert "finished" in cli_run(*command).err  # the same request goes on with the same run
        assert Run.open("run").card.precision == "bf16"
