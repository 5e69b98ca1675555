"""Requests: from options, TOML, an earlier run's card, and GAN files of one's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganvas import gans
from ganvas.errors import GanvasError, SettingError
from ganvas.launch import launch
from ganvas.overrides import with_preset
from ganvas.runs.request import Request, merge, read_config
from ganvas.runs.run import Run
from helpers.common import MY_GAN, assert_same_run, plan_of, state, train


class TestRequests:
    def test_plain_lines_and_the_path_last(self, cli_run: Callable[..., Any]) -> None:
        done = cli_run("train", "mlp/tiny", "--images", "64", "--threads", "1", "--verbose")
        assert done.code == 0
        assert done.out == "runs/0001-mlp-tiny-mnist-5k\n"
        assert "\x1b" not in done.err
        assert "\r" not in done.err
        lines = [line for line in done.err.splitlines() if line.startswith("epoch")]
        assert len(lines) == 2
        assert "D loss" in lines[0]
        assert "64 of 64 images" in lines[1]

    def test_epochs_are_passes_over_the_data(self, pictures: Path, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", data=str(pictures), epochs=4.0)
        assert run.card.plan.total == 48
        run = train("mlp/tiny", tmp_path / "more", data=str(pictures), epochs=4.5)
        assert (run.card.plan.images, run.card.plan.total) == (54, 64)  # whole steps

    @pytest.mark.parametrize("images", [320, 1e6, 1234567, 1_000_001.0, 16])
    def test_lengths_of_any_number_of_digits(
        self, images: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
        assert train("mlp/tiny", tmp_path / "run", images=images).card.plan.images == images

    def test_five_images_train_at_any_batch(self, pictures: Path, tmp_path: Path) -> None:
        for path in (
            sorted((pictures / "dog").iterdir())[:-2] + sorted((pictures / "cat").iterdir())[:-1]
        ):
            path.unlink()
        for name in ("a", "b"):
            shutil.copy(pictures / "dog" / "11.png", pictures / "cat" / f"{name}.png")
        run = train("cgan/tiny", tmp_path / "run", data=str(pictures), images=64.0)
        assert run.card.data.images == 5
        assert state(run.path)["images_seen"] == 64
        assert run.sample(labels="cat,dog").images.shape == (2, 8, 8, 1)

    def test_settings_from_toml_with_the_command_line_on_top(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "my.toml").write_text(
            'recipe = "cgan/tiny"\nimages = 64\nseed = 5\nthreads = 1\nsize = 14\n[train]\nbatch ='
            " 8\nlr = 0.5\n[model]\ng_widths = [6, 5]\n"
        )
        done = cli_run(
            "train",
            "--config",
            "my.toml",
            "--seed",
            "6",
            "--set",
            "lr=0.001",
            "--epochs",
            "0.02",
            "--out",
            "run",
        )
        assert done.code == 0, done.err
        card = Run.open(tmp_path / "run").card
        assert (card.seed, card.train["batch"], card.train["lr"], card.model["g_widths"]) == (
            6,
            8,
            0.001,
            [6, 5],
        )
        assert (card.image.height, card.image.width) == (14, 14)
        assert card.plan.total == 80
        assert cli_run("train", "--config", "my.toml", "--out", "plain").code == 0
        assert Run.open(tmp_path / "plain").card.plan.total == 64

    def test_a_length_replaces_that_of_the_file(self, tmp_path: Path) -> None:
        """However both are given."""
        toml = {"setting": "[train]\nlength = '4 steps'", "option": "images = 64"}
        for name, content in toml.items():
            (tmp_path / f"{name}.toml").write_text(f"recipe = 'mlp/tiny'\n{content}")
            for given, total in (({"images": 32.0}, 32), ({"settings": {"length": "3 steps"}}, 48)):
                request = merge(read_config(tmp_path / f"{name}.toml", None), Request(**given))
                recipe = with_preset(
                    gans.load_gan("mlp").recipes["tiny"], request.settings, request.length
                )[0]
                assert plan_of(recipe.train, 100).total == total

    def test_single_settings_on_top_of_a_card_leave_its_others(self, tmp_path: Path) -> None:
        one = train("mlp/tiny", tmp_path / "one", images=32.0, settings={"lr": 0.5, "eps": 0.25})
        changes = {"train": {"lr": 0.125}}
        two = launch.train(
            config=one.path / "recipe.json", out=tmp_path / "two", settings=changes, quiet=True
        )
        assert two.card.train == one.card.train | {"lr": 0.125}

    def test_gamma_follows_the_rule_unless_it_was_given(self, tmp_path: Path) -> None:
        def gamma(name: str, **options: Any) -> float:
            run = launch.train(
                config=one.path / "recipe.json",
                out=tmp_path / name,
                images=32,
                threads=1,
                quiet=True,
                **options,
            )
            assert isinstance(run.card.train["gamma"], float)
            return run.card.train["gamma"]

        small = {"width": 4, "batch": 8, "precision": "32"}
        one = launch.train(
            "r3gan/digits", images=16, out=tmp_path / "one", threads=1, settings=small, quiet=True
        )
        ruled = one.card.train["gamma"]
        assert gamma("same") == ruled
        assert gamma("batch", settings={"batch": 16}) == pytest.approx(ruled / 2)
        assert gamma("size", size=(14, 14)) == pytest.approx(ruled / 4)
        assert gamma("given", settings={"batch": 16, "gamma": 3.5}) == 3.5
        one = launch.train("r3gan/tiny", images=16, out=tmp_path / "own", threads=1, quiet=True)
        assert gamma("stays", settings={"batch": 16}) == one.card.train["gamma"]

    def test_a_config_with_other_data_plans_for_those(
        self, tiny_run: Run, pictures: Path, tmp_path: Path
    ) -> None:
        run = launch.train(
            config=tiny_run.path / "recipe.json",
            data=str(pictures),
            out=tmp_path / "run",
            quiet=True,
        )
        assert run.card.plan.epoch == 12

    def test_a_repeat_is_of_the_same_images(self, pictures: Path, tmp_path: Path) -> None:
        one = launch.train(
            "mlp/tiny", data=str(pictures), images=32, threads=1, out=tmp_path / "one", quiet=True
        )
        shutil.copy(pictures / "cat" / "00.png", pictures / "cat" / "more.png")
        config = one.path / "recipe.json"
        with pytest.raises(
            SettingError,
            match=r"saw other images, labels or classes than .* holds now: give those, or",
        ):
            launch.train(config=config, out=tmp_path / "two", quiet=True)
        assert not (tmp_path / "two").exists()
        two = launch.train(config=config, images=40, out=tmp_path / "two", quiet=True)
        assert two.card.data.images == one.card.data.images + 1

    def test_a_repeat_notes_what_else_changed(
        self, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        code = tmp_path / "my.py"
        code.write_text(MY_GAN)
        train(str(code), tmp_path / "one", images=16.0)
        config = tmp_path / "one" / "recipe.json"
        assert "no repeat" not in cli_run("train", code, "--config", config, "--out", "same").err
        code.write_text(MY_GAN + "\n")
        card = json.loads(config.read_text())
        card["versions"]["torch"] = "1.0"
        config.write_text(json.dumps(card))
        done = cli_run("train", code, "--config", config, "--out", "other")
        assert done.code == 0
        assert "no repeat to the bit, as my.py, torch changed since that run" in done.err

    def test_a_config_never_leads_to_code(
        self, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
        card = json.loads((tiny_run.path / "recipe.json").read_text()) | {
            "recipe": "evil.py:x",
            "gan": "evil.py",
        }
        (tmp_path / "card.json").write_text(json.dumps(card))
        with pytest.raises(GanvasError, match=r"evil\.py"):
            launch.train(config="card.json", quiet=True)
        assert not (tmp_path / "ran").exists()

    def test_the_environment_and_the_folder_of_the_data_do_not_matter_to_a_repeat(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        one = train("mlp/tiny", tmp_path / "one", data="pictures", images=32.0)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        two = launch.train(config=one.path / "recipe.json", out="two", quiet=True)
        assert_same_run(one.path, two.path.absolute())


class TestOwnFile:
    @pytest.fixture
    def gan_file(self, tmp_path: Path) -> Path:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "my_gan.py").write_text(MY_GAN)
        return tmp_path / "code" / "my_gan.py"

    def test_it_trains_resumes_and_samples_like_a_built_in(
        self,
        gan_file: Path,
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        tmp_path: Path,
    ) -> None:
        whole = cli_run("train", gan_file, "--threads", "1", "--out", "whole")
        assert whole.code == 0, whole.err
        assert "ganvas sample whole --gan" in whole.err
        stop_after(3)
        stopped = cli_run("train", gan_file, "--threads", "1")
        assert stopped.code == 130
        assert f"ganvas train {gan_file} --out runs/0001-my_gan-one-mnist-5k" in stopped.err
        assert cli_run("train", gan_file, "--out", "runs/0001-my_gan-one-mnist-5k").code == 0
        # nn.Dropout too
        assert_same_run(tmp_path / "whole", tmp_path / "runs" / "0001-my_gan-one-mnist-5k")
        card = Run.open(tmp_path / "whole").card
        assert (card.recipe, card.gan) == ("my_gan.py:one", "my_gan.py")
        assert str(tmp_path) not in card.to_json().replace(card.data.what, "")
        done = cli_run("sample", "whole", "--gan", gan_file, "--n", "4", "--out", "four.npz")
        assert done.code == 0, done.err
        assert np.load("four.npz")["images"].shape == (4, 28, 28, 1)

    def test_part_of_a_discriminator_may_be_frozen(self, gan_file: Path, tmp_path: Path) -> None:
        code = MY_GAN.replace(
            "nn.Sequential(nn.Flatten(),", "nn.Sequential(nn.Flatten(), nn.Linear(64, 64),"
        ).replace(
            "* spec.width, 1))", "* spec.width, 1))\n        self.layers[1].requires_grad_(False)"
        )
        gan_file.write_text(code)
        for penalty in ("r1", "gradient"):
            run = train(
                str(gan_file),
                tmp_path / penalty,
                images=32.0,
                size=(8, 8),
                settings={"train.penalty": penalty},
            )
            d = state(run.path)["learner"]["discriminator"]
            assert d["layers.1.weight"].shape == (64, 64)
            assert run.read_log()[-1]["d_loss"] > 0

    def test_a_conditional_gan_without_labels_is_refused_with_a_cure(
        self, gan_file: Path, tmp_path: Path
    ) -> None:
        gan_file.write_text(MY_GAN.replace("config.z_dim)\n", "config.z_dim, conditional=True)\n"))
        np.savez(tmp_path / "plain.npz", images=np.zeros((9, 8, 8), np.uint8))
        with pytest.raises(
            SettingError,
            match=r"no labels: give a folder per class .*, or use another GAN, such as",
        ):
            train(str(gan_file), tmp_path / "run", data=str(tmp_path / "plain.npz"))

    def test_another_recipe_of_the_file(self, gan_file: Path, tmp_path: Path) -> None:
        run = train(f"{gan_file}:two", tmp_path / "run")
        assert run.card.recipe == "my_gan.py:two"
        assert run.card.model == {"z_dim": 2}
        assert len(run.sample(n=3).images) == 3  # the one who trained it has given the file already

    @pytest.mark.parametrize(
        ("old", "new", "answer"),
        [
            (".squeeze(1)", "", "its discriminator makes (2, 1) of 2 images, expected (2,)"),
            (
                ".view(-1, *self.shape)",
                "",
                "its generator makes (2, 784) of 2 latents, expected (2, 1, 28, 28)",
            ),
            (
                "config.z_dim)\n\nREC",
                "config.z_dim, conditional=True)\n\nREC",
                "my_gan.py is a conditional GAN",
            ),
            (
                "Discriminator(spec),",
                "Discriminator(spec).requires_grad_(False),",
                "its discriminator has no weights",
            ),
        ],
    )
    def test_networks_that_do_not_fit_the_contract_are_refused_in_one_line(
        self,
        gan_file: Path,
        cli_run: Callable[..., Any],
        pictures: Path,
        old: str,
        new: str,
        answer: str,
    ) -> None:
        gan_file.write_text(MY_GAN.replace(old, new))
        data = ("--data", pictures / "cat") if "conditional" in new else ()
        assert answer in cli_run("train", gan_file, "--threads", "1", "--out", "run", *data).error

    @pytest.mark.parametrize(
        ("wrong", "answer"),
        [
            ("RECIPES = list(RECIPES.values())", "RECIPES must be a dict of at least one"),
            ("RECIPES = {}", "RECIPES must be a dict of at least one"),
            ("build = 3", "build must be a function of (config, spec)"),
            ("def build(config): pass", "build must be a function of (config, spec)"),
            ("del build", "lacks build"),
        ],
    )
    def test_a_file_without_the_contract_is_refused_in_one_line(
        self, gan_file: Path, cli_run: Callable[..., Any], wrong: str, answer: str
    ) -> None:
        gan_file.write_text(f"{MY_GAN}\n{wrong}\n")
        assert answer in cli_run("train", gan_file).error

    def test_a_path_may_hold_colons(self, gan_file: Path, tmp_path: Path) -> None:
        path = tmp_path / "a:b" / "c.py:d" / "my:gan.py"
        path.parent.mkdir(parents=True)
        gan_file.rename(path)
        run = train(f"{path}:two", tmp_path / "run", images=16.0)
        assert (run.card.recipe, run.gan) == ("my:gan.py:two", str(path))
        assert train(str(path), tmp_path / "other", images=16.0).card.recipe == "my:gan.py:one"
        assert gans.split_path("C:\\x\\my_gan.py:two") == ("C:\\x\\my_gan.py", "two")
        assert gans.split_path("C:\\x\\my_gan.py") == ("C:\\x\\my_gan.py", None)
        assert gans.split_path("r3gan/digits") == ("", None)

    def test_nothing_runs_the_file_unasked(
        self, gan_file: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        train(str(gan_file), tmp_path / "run")
        gan_file.write_text(MY_GAN + "\nimport pathlib\npathlib.Path('ran').touch()\n")
        for place in (tmp_path / "run", tmp_path / "run" / "generator.safetensors"):
            assert "--gan PATH/my_gan.py" in cli_run("sample", place).error
        assert "my_gan.py" in cli_run("train", "--out", "run").error
        other = gan_file.with_name("other.py")
        other.write_text(MY_GAN)
        assert "my_gan.py, not in other.py" in cli_run("sample", "run", "--gan", other).error
        assert not (tmp_path / "ran").exists()

    def test_a_changed_file_still_samples_where_the_weights_fit(
        self, gan_file: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        train(str(gan_file), tmp_path / "run")
        command = ("sample", "run", "--gan", gan_file, "--n", "2")
        assert cli_run(*command).err == ""
        gan_file.write_text(MY_GAN + "\n# changed\n")
        done = cli_run(*command)
        assert (done.code, done.err) == (
            0,
            f"note: {gan_file} is not as it was in training: images may differ from the run's\n",
        )
        gan_file.write_text(MY_GAN.replace("nn.Linear(z_dim, ", "nn.Linear(1 + z_dim, "))
        assert f"does not fit {gan_file} as it is now" in cli_run(*command).error
        gan_file.write_text(
            MY_GAN.replace("z_dim: int = 4", "size: int = 4").replace("z_dim=2", "size=2")
        )
        assert "do not fit my_gan.py" in cli_run(*command).error

    def test_a_changed_file_does_not_resume_the_old_run(
        self, gan_file: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None]
    ) -> None:
        stop_after(3)
        cli_run("train", gan_file, "--threads", "1", "--out", "run")
        gan_file.write_text(MY_GAN + "\n# changed\n")
        error = cli_run("train", gan_file, "--threads", "1", "--out", "run").error
        assert "was made with file=" in error
