"""`--from`: trainings that start from trained weights, resume without their source, and repeat."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas import gans
from ganvas.launch import launch
from ganvas.launch.warm_start import read_start
from ganvas.runs.run import Run
from ganvas.runs.weights import open_generator, weights_sha256
from ganvas.training import loop
from helpers.common import assert_same_run, assert_same_tree, state, train

AVERAGED = {"average": "100 images"}
COMMAND = ("train", "cgan/tiny", "--images", "64", "--threads", "1")


@pytest.fixture(scope="module")
def averaged_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with an average of G's weights. Not to be changed."""
    return train(
        "cgan/tiny", tmp_path_factory.mktemp("averaged") / "run", images=160.0, settings=AVERAGED
    )


def plain(part: Any) -> Any:
    """A network's state as a plain dictionary."""
    return dict(part) if isinstance(part, dict) else part


@pytest.fixture
def first_weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The networks and optimizers of each training in this test, just before its first step."""
    seen: list[dict[str, Any]] = []
    take_step = loop.take_step

    def step(learner: Any, batches: Any, images_seen: int) -> Any:
        if images_seen == 0 and batches.seed == 0:
            seen.append(
                {name: plain(part) for name, part in deepcopy(learner.state_dict()).items()}
            )
        return take_step(learner, batches, images_seen)

    monkeypatch.setattr(loop, "take_step", step)
    return seen


class TestStart:
    def test_a_run_gives_both_networks_and_the_average(
        self, averaged_run: Run, tmp_path: Path, first_weights: list[dict[str, Any]]
    ) -> None:
        run = train(
            "cgan/tiny", tmp_path / "run", images=32.0, settings=AVERAGED, from_=averaged_run.path
        )
        learned = state(averaged_run.path)["learner"]
        for network in ("generator", "discriminator", "average"):
            assert_same_tree(first_weights[-1][network], plain(learned[network]))
        assert any(
            not torch.equal(learned["average"][k], v) for k, v in learned["generator"].items()
        )
        assert_same_tree(
            first_weights[-1]["g_optimizer"], train_anew(tmp_path, first_weights)["g_optimizer"]
        )
        assert (state(run.path)["images_seen"], run.card.plan.total) == (32, 32)

    def test_a_file_gives_the_generator_alone(
        self,
        averaged_run: Run,
        tmp_path: Path,
        first_weights: list[dict[str, Any]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        file = averaged_run.generator_file
        launch.train(
            "cgan/tiny", out=tmp_path / "run", images=32.0, settings=AVERAGED, from_=file, threads=1
        )
        assert "the discriminator starts anew" in capsys.readouterr().err
        sampler, _ = open_generator(file)
        taken, anew = first_weights[-1], train_anew(tmp_path, first_weights)
        assert_same_tree(taken["generator"], dict(sampler.gan.generator.state_dict()))
        assert_same_tree(taken["average"], taken["generator"])
        assert_same_tree(taken["discriminator"], anew["discriminator"])

    def test_an_average_that_the_source_lacks_begins_with_the_generator(
        self, averaged_run: Run, tiny_run: Run, tmp_path: Path, first_weights: list[dict[str, Any]]
    ) -> None:
        train("cgan/tiny", tmp_path / "one", images=32.0, settings=AVERAGED, from_=tiny_run.path)
        assert_same_tree(
            first_weights[-1]["average"], plain(state(tiny_run.path)["learner"]["generator"])
        )
        train("cgan/tiny", tmp_path / "two", images=32.0, from_=averaged_run.path)
        assert_same_tree(
            first_weights[-1]["generator"], plain(state(averaged_run.path)["learner"]["generator"])
        )
        assert first_weights[-1]["average"] == {}

    def test_the_card_holds_the_origin(self, tiny_run: Run, tmp_path: Path) -> None:
        run = train("cgan/tiny", tmp_path / "run", images=32.0, from_=tiny_run.path)
        learned = state(tiny_run.path)["learner"]
        flat = {
            f"{n}/{k}": v for n in ("generator", "discriminator") for k, v in learned[n].items()
        }
        began = Run.open(run.path).card.started_from
        assert began is not None
        assert (began.path, began.sha256) == (str(tiny_run.path), weights_sha256(flat))
        assert tiny_run.card.started_from is None

    def test_without_a_recipe_that_of_the_source_is_taken_with_its_networks(
        self, tmp_path: Path
    ) -> None:
        source = train(
            "cgan/tiny", tmp_path / "source", images=32.0, settings={"g_widths": [5], "lr": 0.5}
        )
        run = launch.train(
            from_=source.path, out=tmp_path / "run", images=32.0, threads=1, quiet=True
        )
        assert (run.card.recipe, run.card.model) == ("cgan/tiny", source.card.model)
        assert run.card.train["lr"] != 0.5

    def test_naming_the_same_recipe_takes_the_networks_too(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        """As of another length they may be, by a preset; given once more, the command goes on."""
        source = train("r3gan/tiny", tmp_path / "source", images=16.0, settings={"width": 2})
        command = (
            "train",
            "r3gan/tiny",
            "--from",
            source.path,
            "--images",
            "16",
            "--threads",
            "1",
            "--out",
            "run",
        )
        done = cli_run(*command)
        assert done.code == 0, done.err
        assert Run.open("run").card.model == source.card.model
        assert "is finished" in cli_run(*command).err
        assert "has model.width=2, not 3" in cli_run(*command[:-2], "--set", "width=3").error

    def test_networks_of_a_preset_come_with_its_learning_rates(self, tmp_path: Path) -> None:
        """With the recipe's own rates, such networks diverge."""
        hour = gans.find_recipe("r3gan/digits")[2].presets[60]
        source = train(
            "r3gan/digits",
            tmp_path / "source",
            images=32.0,
            settings=hour | {"width": 2, "log": "1 steps"},
        )
        for k, (settings, start) in enumerate(
            (({}, hour["train.lr.start"]), ({"lr.start": 1e-4}, 1e-4))
        ):
            run = train(
                None, tmp_path / f"run{k}", from_=source.path, images=32.0, settings=settings
            )
            assert (run.card.model["blocks"], run.card.train["lr"]["start"]) == (1, start)
            assert run.card.train["lr"]["end"] == hour["train.lr.end"]
        plain = train("r3gan/digits", tmp_path / "plain", images=32.0, settings={"width": 2})
        assert (
            train(None, tmp_path / "again", from_=plain.path, images=32.0).card.train["lr"]["start"]
            == 2e-3
        )

    def test_a_run_gives_its_data_unless_others_are_named(
        self, pictures: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        first = ("train", "mlp/tiny", "--images", "16", "--threads", "1")
        wish = ("--data", "pictures", "--size", "6", "--fit", "pad", "--channels", "3", "--flip")
        assert cli_run(*first, *wish, "--out", "source").code == 0
        done = cli_run(*first, "--from", "source", "--out", "run")
        assert f"no --data: training on that of source, {pictures}" in done.err
        assert Run.open("run").card.data == Run.open("source").card.data
        assert cli_run(*first, "--from", "source", "--out", "plain", "--flip=false").code == 0
        assert not Run.open("plain").card.data.flip
        alone = cli_run(*first, "--from", "source/generator.safetensors").error
        assert "is of images of 6x6 RGB, these are 28x28 grey: name others with --data" in alone


def train_anew(tmp_path: Path, first_weights: list[dict[str, Any]]) -> dict[str, Any]:
    train("cgan/tiny", tmp_path / "anew", images=32.0, settings=AVERAGED)
    return first_weights[-1]


class TestResuming:
    def test_it_is_resumed_to_the_same_end_without_the_source(
        self,
        tiny_run: Run,
        copy: Callable[..., Path],
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
        tmp_path: Path,
    ) -> None:
        source = copy(tiny_run, "source")
        assert cli_run(*COMMAND, "--from", source, "--out", "whole").code == 0
        stop_after(2)
        assert cli_run(*COMMAND, "--from", source, "--out", "part").code == 130
        shutil.rmtree(source)
        # the same command again
        assert cli_run(*COMMAND, "--from", "source", "--out", "part").code == 0
        assert_same_run(tmp_path / "whole", tmp_path / "part")

    def test_one_killed_before_its_first_save_begins_with_the_same_weights(
        self, tiny_run: Run, copy: Callable[..., Path], tmp_path: Path
    ) -> None:
        source = copy(tiny_run, "source")
        whole, killed = (
            train("cgan/tiny", tmp_path / n, images=64.0, from_=source).path
            for n in ("whole", "killed")
        )
        (killed / "state.pt").unlink()
        shutil.rmtree(source)
        launch.train(out=killed, quiet=True)
        assert_same_run(whole, killed)

    def test_its_own_copy_is_checked(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        run = train("cgan/tiny", tmp_path / "run", images=64.0, from_=tiny_run.path).path
        (run / "state.pt").unlink()
        shutil.copy(tiny_run.generator_file, run / "start.safetensors")
        assert "start.safetensors holds other weights than" in cli_run("train", "--out", run).error
        (run / "start.safetensors").write_bytes(b"text")
        assert "start.safetensors is damaged" in cli_run("train", "--out", run).error

    @pytest.mark.parametrize("same", [True, False])
    def test_one_killed_before_it_had_its_copy_reads_the_source_anew(
        self,
        same: bool,
        tiny_run: Run,
        half_run: Run,
        copy: Callable[..., Path],
        cli_run: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        source = copy(tiny_run, "source")
        command = (*COMMAND, "--from", "source", "--out")
        assert cli_run(*command, "whole").code == 0
        (tmp_path / "killed").mkdir()
        shutil.copy(tmp_path / "whole" / "recipe.json", tmp_path / "killed")
        shutil.rmtree(source)
        again = command if same else ("train", "--out")
        assert "source" in cli_run(*again, "killed").error
        copy(half_run, "source")
        assert "holds other weights now: give those of then" in cli_run(*again, "killed").error
        shutil.rmtree(source)
        copy(tiny_run, "source")
        assert cli_run(*again, "killed").code == 0
        assert_same_run(tmp_path / "whole", tmp_path / "killed")

    def test_another_source_is_another_run(
        self,
        tiny_run: Run,
        half_run: Run,
        cli_run: Callable[..., Any],
        stop_after: Callable[[int], None],
    ) -> None:
        stop_after(2)
        assert cli_run(*COMMAND, "--from", tiny_run.path).code == 130
        run = "runs/0001-cgan-tiny-mnist-5k"
        assert "from=" in cli_run(*COMMAND, "--from", half_run.path, "--out", run).error
        assert cli_run(*COMMAND, "--from", half_run.path).out.startswith("runs/0002-")
        assert cli_run(*COMMAND).out.startswith("runs/0003-")
        assert cli_run(*COMMAND, "--from", tiny_run.path).out == f"{run}\n"

    @pytest.mark.long
    def test_two_processes_start_from_the_same_weights(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run(
            *COMMAND,
            "--from",
            tiny_run.path,
            "--processes",
            "2",
            "--set",
            "lr=1e-9",
            "--out",
            "run",
        )
        assert done.code == 0, done.err
        source, learned = (state(path)["learner"] for path in (tiny_run.path, tmp_path / "run"))
        for network in ("generator", "discriminator"):
            for name, tensor in source[network].items():
                # BatchNorm's statistics move on
                if "running" not in name and "tracked" not in name:
                    torch.testing.assert_close(learned[network][name], tensor, rtol=0, atol=1e-6)


class TestRepeating:
    def test_a_card_repeats_it_from_the_runs_own_copy(
        self, tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        source = copy(tiny_run, "source")
        assert cli_run(*COMMAND, "--from", "source", "--out", "one").code == 0
        shutil.rmtree(source)
        assert cli_run("train", "--config", "one/recipe.json", "--out", "two").code == 0
        assert_same_run(tmp_path / "one", tmp_path / "two")
        assert cli_run("train", "--fresh", "--out", "one").code == 0
        assert_same_run(tmp_path / "one", tmp_path / "two")

    def test_a_card_alone_needs_the_same_source(
        self,
        tiny_run: Run,
        half_run: Run,
        copy: Callable[..., Path],
        cli_run: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        source = copy(tiny_run, "source")
        assert cli_run(*COMMAND, "--from", source, "--out", "one").code == 0
        shutil.copy("one/recipe.json", "card.json")
        assert cli_run("train", "--config", "card.json", "--out", "two").code == 0
        assert_same_run(tmp_path / "one", tmp_path / "two")
        shutil.rmtree(source)
        assert "no file" in cli_run("train", "--config", "card.json", "--out", "three").error
        shutil.copytree(half_run.path, source)
        line = cli_run("train", "--config", "card.json", "--out", "three").error
        assert "holds other weights now" in line
        assert "--from" in line
        done = cli_run(
            "train", "--config", "card.json", "--from", "one/start.safetensors", "--out", "three"
        )
        assert done.code == 0, done.err
        assert_same_tree(state(tmp_path / "one"), state(tmp_path / "three"))

    def test_from_toml(self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        text = f'recipe = "cgan/tiny"\nimages = 32\nthreads = 1\nfrom = "{tiny_run.path}"\n'
        assert tomllib.loads(text)["from"]
        (tmp_path / "my.toml").write_text(text)
        assert cli_run("train", "--config", "my.toml", "--out", "run").code == 0
        began = Run.open("run").card.started_from
        assert began is not None
        assert began.path == str(tiny_run.path)
        (tmp_path / "my.toml").write_text('started_from = "x"\n')
        assert (
            "unknown setting started_from: write from"
            in cli_run("train", "--config", "my.toml").error
        )


def test_the_generator_that_ships_is_found_by_its_name(
    cli_run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()  # an ordinary folder does not hide it
    command = (
        "train",
        "--from",
        "digits",
        "--images",
        32,
        "--threads",
        1,
        "--precision",
        "32",
        "--out",
        "run",
    )
    done = cli_run(*command)
    assert done.code == 0, done.err
    assert "generators/digits.safetensors; the discriminator starts anew" in done.err
    card = Run.open("run").card
    assert (card.recipe, card.model["width"]) == ("r3gan/digits", 16)
    assert "is finished" in cli_run(*command).err


def test_reading_gives_networks_and_a_file_only_the_generator(
    averaged_run: Run, tmp_path: Path
) -> None:
    assert set(read_start(averaged_run.path).networks) == {"generator", "discriminator", "average"}
    assert set(read_start(averaged_run.generator_file).networks) == {"generator"}
    run = train("cgan/tiny", tmp_path / "run", images=32.0, from_=averaged_run.path)
    assert (
        read_start(run.path / "start.safetensors").origin.sha256
        == read_start(averaged_run.path).origin.sha256
    )
