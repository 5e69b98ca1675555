"""The doctor's rules on made-up logs, the commands it gives, and what `ganvas doctor` says of runs
of every kind."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ganvas import gans
from ganvas.doctor.remedies import REMEDIES, RunInfo, command
from ganvas.doctor.rules import MARKS, RULES, WARM, History, Monitor, diagnose
from ganvas.overrides import GAMMA, override, parse_assignments
from ganvas.recipe import settings
from ganvas.runs.run import Run
from ganvas.training import learner
from ganvas.views.diagnosis import examine
from helpers.common import MY_GAN, state, train
from helpers.patients import RECIPES, network, patient_of

WELL = {
    "lr": 1e-3, "d_loss": 1.0, "g_loss": 1.0, "d_real": 0.6, "d_fake": 0.4, "d_accuracy": 0.7, "d_gradient": 3.0,
    "g_gradient": 2.0, "g_least_gradient": 0.1, "diversity": 0.8, "apart": 0.9, "nearest": 1.1, "copying": 1.0, "d_known": 0.6,
    "d_held": 0.6, "memorised": 0.05, "told": 0.9,
}  # fmt: skip


def marks(count: int = 12, **changes: Any) -> list[dict[str, float]]:
    """Marks of 100 steps each. changes: a figure's value, or its values as a function of the
    progress, 0 to 1."""
    made = []
    for k in range(1, count + 1):
        place = {"images": 1600 * k, "step": 100 * k, "epoch": 0.4 * k, "seconds": k}
        wobble = {"nearest": 1.1 + 0.1 * (k % 2)}
        figures = {
            name: value(k / count) if callable(value) else value for name, value in changes.items()
        }
        made.append(
            {name: v for name, v in (WELL | place | wobble | figures).items() if v is not None}
        )
    return made


def states(*arguments: Any, **options: Any) -> list[str]:
    return [finding.state for finding in diagnose(*arguments, **options)]


class TestRules:
    @pytest.mark.parametrize(
        ("state", "recipe", "changes", "almost"),
        [
            ("NaN", "mlp/tiny", {"d_loss": lambda at: 1.0 if at < 1 else torch.nan}, {}),
            ("exploding gradients", "mlp/tiny", {"g_loss": 2e3}, {"g_loss": 60.0}),
            ("exploding gradients", "mlp/tiny", {"d_loss": 6.0}, {"d_loss": 2.0}),
            ("exploding gradients", "mlp/tiny", {"g_gradient": 2e3}, {"g_gradient": 100.0}),
            ("exploding gradients", "wgan-gp/tiny", {"d_loss": -2e3}, {"d_loss": -60.0, "g_loss": 3e3}),
            ("vanishing gradients", "mlp/tiny", {"g_gradient": 1e-6}, {"g_gradient": 1e-3}),
            ("vanishing gradients", "mlp/tiny", {"g_least_gradient": 1e-9}, {"g_least_gradient": 1e-4}),
            ("memorising", "mlp/tiny", {"copying": 0.3}, {"copying": 0.9}),
            ("memorising", "mlp/tiny", {"copying": None, "nearest": lambda at: 0.1 + at / 10},
             {"copying": None, "nearest": lambda at: 0.6 - at / 10}),
            ("learning stalled", "mlp/tiny", {"nearest": 2.4}, {"nearest": lambda at: 2.4 - 0.1 * at}),
            ("learning stalled", "mlp/tiny", {"nearest": None, "diversity": None, "lr": 1e-9},
             {"nearest": None, "diversity": None, "lr": 1e-6}),
            ("mode collapse", "mlp/tiny", {"diversity": 0.01}, {"diversity": 0.1}),
            ("mode collapse", "mlp/tiny", {"diversity": lambda at: 0.9 - 0.7 * (at > 0.5)},
             {"diversity": lambda at: 0.9 - 0.4 * (at > 0.5)}),
            ("mode collapse", "mlp/tiny", {"class_kl": 1.3}, {"class_kl": 1.3, "diversity": 0.5}),
            ("mode collapse", "mlp/tiny", {"class_kl": 1.3}, {"class_kl": 1.3, "nearest": lambda at: 2.4 - at / 2}),
            ("mode collapse", "mlp/tiny", {"class_kl": lambda at: 0.1 + 0.7 * (at > 0.5)},
             {"class_kl": lambda at: 0.1 + 0.4 * (at > 0.5)}),
            ("mode collapse", "mlp/tiny", {"class_kl": 1.1}, {"class_kl": 0.8}),
            ("mode collapse", "mlp/tiny", {"apart": 0.07}, {"apart": 0.09}),
            ("D overfits the training set", "mlp/tiny", {"memorised": 0.5}, {"memorised": 0.3}),
            ("D overfits the training set", "r3gan/tiny", {"memorised": 0.8}, {"memorised": 0.6}),
            ("D overfits the training set", "r3gan/tiny", {"memorised": 0.8, "augmentation": 0.8},
             {"memorised": 0.8, "augmentation": 0.5}),
            ("D overpowers G", "mlp/tiny", {"d_loss": 0.01, "nearest": lambda at: 2.4 - at / 5},
             {"d_loss": 0.01, "nearest": lambda at: 2.4 - at}),
            ("D overpowers G", "wgan-gp/tiny", {"told": 1.0, "nearest": lambda at: 2.4 - at / 5},
             {"told": 0.9, "nearest": lambda at: 2.4 - at / 5}),
            ("D overpowers G", "r3gan/tiny", {"d_loss": 0.08, "g_loss": 5.5}, {"d_loss": 0.11, "g_loss": 3.5}),
        ],
    )  # fmt: skip
    def test_a_state_is_named_and_what_comes_near_it_is_not(
        self, state: str, recipe: str, changes: dict[str, Any], almost: dict[str, Any]
    ) -> None:
        patient = patient_of(recipe)
        assert states(patient, marks(**changes)) == [state]
        assert states(patient, marks(**almost)) == ["healthy"]

    def test_of_large_data_it_is_said_how_many_were_looked_at_and_all_count_where_they_were(
        self,
    ) -> None:
        large = patient_of("mlp/tiny", images=60_000)
        (finding,) = diagnose(large, marks(copying=0.3))
        assert finding.evidence.endswith("(2,048 of 60,000 were looked at)")
        (finding,) = diagnose(
            large,
            [
                *marks(11, copying=0.8),
                marks(copying=0.8)[-1] | {"nearest_of_all": 0.1, "copying_of_all": 0.1},
            ],
        )
        assert finding.state == "memorising"
        assert "samples are 0.1 times as far" in finding.evidence
        assert "were looked at" not in finding.evidence

    def test_data_are_tiny_once_they_have_been_seen_many_times(self) -> None:
        for images, epochs, expected in (
            (20, 50, "starving on tiny data"),
            (20, 5, "healthy"),
            (150, 50, "healthy"),
        ):
            patient = patient_of("mlp/tiny", images=images)
            assert states(patient, marks(epoch=lambda at, most=epochs: most * at)) == [expected]

    def test_what_was_once_does_not_count(self) -> None:
        assert states(
            patient_of("mlp/tiny"), marks(g_loss=lambda at: 1e4 if at < 0.5 else 1.0)
        ) == ["healthy"]

    def test_what_explains_the_others_comes_first(self) -> None:
        patient = patient_of("mlp/tiny", images=20)
        found = states(patient, marks(epoch=lambda at: 90 * at, copying=0.2, memorised=0.9))
        assert found == ["starving on tiny data", "memorising", "D overfits the training set"]
        assert states(patient, marks(epoch=lambda at: 90 * at, g_gradient=1e9, copying=0.2)) == [
            "exploding gradients"
        ]

    def test_a_log_of_the_losses_alone_is_judged_by_these(self) -> None:
        old = {
            name: None
            for name in WELL
            if name not in ("lr", "d_loss", "g_loss", "d_real", "d_fake", "d_accuracy")
        }
        assert states(patient_of("mlp/tiny"), marks(**old)) == ["healthy"]
        assert states(patient_of("mlp/tiny"), marks(**old, g_loss=1e4)) == ["exploding gradients"]
        assert states(patient_of("mlp/tiny"), []) == ["too early to tell"]

    def test_a_few_steps_are_not_healthy_yet(self) -> None:
        patient = patient_of("mlp/tiny")
        for step, expected in ((9, "too early to tell"), (10, "healthy")):
            assert states(patient, [mark | {"step": step} for mark in marks(1)]) == [expected]
        assert states(patient, [mark | {"step": 9} for mark in marks(1, g_loss=1e4)]) == [
            "exploding gradients"
        ]

    def test_trained_weights_may_stay_as_they_are(self) -> None:
        from ganvas.runs.card import StartedFrom

        patient = patient_of("mlp/tiny")
        card = dataclasses.replace(patient.card, started_from=StartedFrom(path="x", sha256=""))
        assert states(dataclasses.replace(patient, card=card), marks(nearest=1.1)) == ["healthy"]
        assert states(patient, marks(nearest=1.1)) == ["learning stalled"]


class TestHistory:
    def test_marks_are_means_and_bounded(self) -> None:
        history = History()
        for k in range(10_000):
            history.add(
                {"images": k, "step": k, "epoch": k, "seconds": k, "d_loss": float(k), "note": "x"}
            )
        found = history.marks
        assert MARKS / 2 <= len(found) <= MARKS
        width = found[0]["images"] + 1
        assert [mark["d_loss"] for mark in found[:3]] == [
            (width - 1) / 2 + k * width for k in range(3)
        ]
        assert (found[-1]["images"], found[-1].get("note")) == (9999, None)


class TestWatch:
    def lines(self, ill: range, count: int = 12) -> Iterator[dict[str, float]]:
        for k, mark in enumerate(marks(count)):
            yield mark | ({"g_loss": 1e5} if k in ill else {})

    def test_a_state_is_told_once_when_two_checkups_show_it(self) -> None:
        watch = Monitor(patient_of("mlp/tiny"))
        told = [
            (k, [each.state for each in watch.see(line)])
            for k, line in enumerate(self.lines(range(4, 12)))
        ]
        assert [each for each in told if each[1]] == [(5, ["exploding gradients"])]

    def test_one_checkup_is_not_enough(self) -> None:
        watch = Monitor(patient_of("mlp/tiny"))
        assert [watch.see(line) for line in self.lines(range(1))] == [[]] * 12

    def test_gradients_that_explode_are_told_without_a_checkup(self) -> None:
        watch = Monitor(patient_of("mlp/tiny"))
        lines = [
            line | {"step": k * WARM / 4}
            for k, line in enumerate(marks(12, diversity=None, g_loss=1e5))
        ]
        told = [(k, [each.state for each in watch.see(line)]) for k, line in enumerate(lines)]
        assert [each for each in told if each[1]] == [(5, ["exploding gradients"])]

    def test_a_line_of_losses_alone_is_not_thought_about(self) -> None:
        watch = Monitor(patient_of("mlp/tiny"))
        assert not any(
            watch.see(line) for line in marks(12, diversity=None, g_gradient=None, g_loss=1e5)
        )

    def test_lines_between_two_checkups_are_none(self) -> None:
        watch, collapsed = Monitor(patient_of("mlp/tiny")), marks(9, diversity=0.01)
        told = []
        for k, line in enumerate(collapsed):
            if k not in (2, 6):
                del line["diversity"]
            told += [(k, each.state) for each in watch.see(line)]
        assert told == [(6, "mode collapse")]

    @pytest.mark.parametrize("at", range(12))
    def test_going_on_tells_nothing_twice_and_forgets_nothing(self, at: int) -> None:
        lines = list(self.lines(range(4, 12)))
        whole, resumed = Monitor(patient_of("mlp/tiny")), Monitor(patient_of("mlp/tiny"))
        told = [watch.see(line) for watch in (whole,) for line in lines]
        resumed.resume(lines[:at])
        assert [resumed.see(line) for line in lines[at:]] == told[at:]


def change_of(patient: RunInfo, state: str) -> list[str]:
    """What follows `--config RUN/recipe.json` in a command."""
    words = shlex.split(command(patient, state))
    at = words.index("--config")
    assert words[:2] + words[at : at + 2] == ["ganvas", "train", "--config", "a run/recipe.json"]
    return words[at + 2 :]


class TestRemedies:
    def test_every_state_has_one(self) -> None:
        assert REMEDIES.keys() == RULES.keys()

    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize(
        "changes", [{}, {"lr": 1.0}, {"lr": 1e-8, "d_lr": 0.5}, {"augment": 0.4}]
    )
    def test_every_command_is_one_that_this_recipe_takes(
        self, recipe: str, changes: dict[str, Any]
    ) -> None:
        patient = patient_of(recipe, **changes)
        _, _, own = gans.find_recipe(recipe)
        for ailment in REMEDIES:
            words = shlex.split(command(patient, ailment))
            if "--set" not in words:
                assert {"--flip", "--images", "--precision", "--data"} & set(words)
                continue
            changed = override(
                override(own, changes), parse_assignments(words[words.index("--set") + 1 :])
            )
            before = settings(dataclasses.replace(own, model=own.model, train=patient.train))[
                "train"
            ]
            assert settings(changed)["train"] != before
            learner.check_learnable(network(recipe), changed.train)

    @pytest.mark.parametrize(
        ("state", "recipe", "changes", "expected"),
        [
            ("NaN", "mlp/leaky", {}, ["--set", "lr=7.5e-05"]),
            ("NaN", "mlp/leaky", {"lr": 1e30}, ["--set", "lr=0.0003"]),
            ("NaN", "mlp/batchnorm", {}, ["--set", "lr.start=5e-05"]),
            ("exploding gradients", "sngan/digits", {"d_lr": 0.5}, ["--set", "d_lr.start=0.001", "d_lr.end=0.0001",
             "d_lr.shape=linear"]),
            ("exploding gradients", "r3gan/digits", {"gamma": 0}, ["--set", f"gamma={GAMMA * 2:g}"]),
            ("exploding gradients", "wgan-gp/digits", {"gamma": 0}, ["--set", "gamma=10"]),
            ("D overpowers G", "r3gan/tiny", {"gamma": 0}, ["--set", "gamma=2.4"]),
            ("mode collapse", "mlp/leaky", {}, ["--set", "penalty=r1"]),
            ("mode collapse", "dcgan/64", {}, ["--set", "lr.start=0.0005", "lr.end=5e-06"]),
            ("D overpowers G", "dcgan/64", {}, ["--set", "d_lr.start=0.0005", "d_lr.end=5e-06",
             "d_lr.shape=cosine", "d_lr.per=epoch"]),
            ("D overpowers G", "mlp/leaky", {"d_lr": 3e-3}, ["--set", "d_lr=0.0003"]),
            ("D overpowers G", "mlp/leaky", {"lr": 1e-6}, ["--set", "lr=0.0003"]),
            ("learning stalled", "mlp/leaky", {"lr": 1e-9}, ["--set", "lr=0.0003"]),
            ("learning stalled", "mlp/leaky", {}, ["--set", "lr=0.0012"]),
            ("learning stalled", "mlp/leaky", {"lr": 1.0, "d_lr": 3e-4}, ["--set", "lr=0.0003"]),
            ("memorising", "dcgan/64", {}, ["--set", "augment=0.4"]),
            ("memorising", "dcgan/64", {"augment": 0.4}, ["--set", "augment=0.8"]),
            ("memorising", "dcgan/64", {"augment": 0.8}, ["--images", str(20_032 // 2)]),
            ("D overfits the training set", "mlp/leaky", {}, ["--set", "augment=adaptive"]),
            ("D overfits the training set", "r3gan/digits", {}, ["--set", f"gamma={GAMMA * 8:g}"]),
            ("vanishing gradients", "mlp/leaky", {}, ["--set", "eps=1e-12"]),
        ],
    )  # fmt: skip
    def test_the_setting_is_that_of_this_run(
        self, state: str, recipe: str, changes: dict[str, Any], expected: list[str]
    ) -> None:
        assert change_of(patient_of(recipe, **changes), state) == expected

    def test_pictures_may_be_mirrored_and_letters_not(self) -> None:
        assert change_of(patient_of("r3gan/images", "a folder"), "starving on tiny data") == [
            "--flip"
        ]
        assert change_of(patient_of("r3gan/images", "svhn"), "starving on tiny data")[0] == "--set"

    def test_the_usual_rate_is_that_of_the_preset(self) -> None:
        """Back to the recipe's rate without its networks would be forward to one that diverges."""
        patient = patient_of("r3gan/digits", requested="60 minutes")
        assert patient.card.model["blocks"] == 1
        assert change_of(patient, "D overpowers G")[1] == "d_lr.start=0.0001"
        slow = patient_of("r3gan/digits", requested="60 minutes", blocks=1, lr=1e-6)
        assert change_of(slow, "D overpowers G")[1] == "lr.start=0.0004"

    def test_a_large_data_set_gets_a_fixed_probability(self) -> None:
        patient = patient_of("mlp/leaky", images=60_000)
        assert change_of(patient, "D overfits the training set") == ["--set", "augment=0.4"]

    def test_mixed_precision_is_left_first(self) -> None:
        patient = patient_of("mlp/leaky")
        half = dataclasses.replace(
            patient, card=dataclasses.replace(patient.card, precision="fp16")
        )
        assert change_of(half, "NaN") == ["--precision", "32"]

    def test_the_data_folder_and_a_file_of_ones_own_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "my gan.py").write_text(MY_GAN)
        patient = dataclasses.replace(
            patient_of(f"{tmp_path}/my gan.py:two"), data_dir=Path("my data")
        )
        words = shlex.split(command(patient, "NaN"))
        assert words[2:5] == [str(tmp_path / "my gan.py:two"), "--config", "a run/recipe.json"]
        assert words[-2:] == ["--data-dir", "my data"]
        assert shlex.split(command(patient, "healthy")) == [
            "ganvas",
            "train",
            str(tmp_path / "my gan.py:two"),
            "--out",
            "a run",
            "--data-dir",
            "my data",
        ]
        unknown = RunInfo(Path("a run"), patient.card)
        assert shlex.split(command(unknown, "NaN"))[2] == "PATH/my gan.py:two"


class TestVerb:
    def test_a_finished_run(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(tiny_run)
        before = tree(path)
        done = cli_run("doctor", path)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"{path}: healthy (finished, 320 of 320 images seen)\n")
        assert f"next: ganvas sample {path}" in done.out
        found = json.loads(cli_run("doctor", path, "--json").out)
        assert found.keys() >= {
            "run",
            "state",
            "findings",
            "stage",
            "images_seen",
            "planned",
            "figures",
            "notes",
        }
        assert found["findings"][0].keys() == {"state", "evidence", "command"}
        assert found["figures"].keys() >= {
            "diversity",
            "nearest",
            "copying",
            "memorised",
            "d_gradient",
            "g_gradient",
        }
        assert tree(path) == before

    def test_one_that_was_stopped_and_one_that_is_training(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(half_run)
        assert f"next: ganvas train --out {path}\n" in cli_run("doctor", path).out
        with Run.open(path).locked():
            done = cli_run("doctor", path, "--data-dir", "here")
            assert "too early to tell (training, 144 of 320 images seen)" in done.out
            assert f"next: ganvas doctor {path} --data-dir here\n" in done.out

    def test_no_log_yet(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(half_run)
        for name in ("log.jsonl", "state.pt"):
            (path / name).unlink()
        done = cli_run("doctor", path)
        assert done.code == 0
        assert "too early to tell (stopped, 0 of 320 images seen)" in done.out
        assert f"next: ganvas train --out {path}\n" in done.out

    @pytest.mark.parametrize("name", ["log.jsonl", "state.pt", "recipe.json"])
    def test_a_damaged_run(
        self, name: str, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(half_run)
        (path / name).write_bytes(b"\xff\xfe\n\n")
        assert f"{path / name} is damaged" in cli_run("doctor", path).error

    def test_weights_of_another_shape(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(half_run)
        saved = state(path)
        saved["learner"]["generator"].popitem()
        torch.save(saved, path / "state.pt")
        assert "state.pt that does not fit" in cli_run("doctor", path).error

    def test_what_is_no_run(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "nope" in cli_run("doctor", "nope").error
        assert "not a run" in cli_run("doctor", "empty").error

    def test_data_that_are_gone_or_others_are_noted(
        self, pictures: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        train("cgan/tiny", tmp_path / "run", images=64.0, data=pictures)
        assert "note:" not in cli_run("doctor", "run").out
        shutil.copy(pictures / "cat" / "01.png", pictures / "cat" / "00.png")
        assert "note: the log alone was judged: " in cli_run("doctor", "run").out
        shutil.rmtree(pictures)
        done = cli_run("doctor", "run")
        assert done.code == 0
        assert "pictures" in done.out.partition("note: ")[2]

    def test_a_file_of_ones_own(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "my_gan.py").write_text(MY_GAN)
        train("my_gan.py", tmp_path / "run", images=64.0)
        assert "note: the log alone was judged: " in cli_run("doctor", "run").out
        done = cli_run("doctor", "run", "--gan", "my_gan.py")
        assert "note" not in done.out
        assert "next: ganvas sample run --gan my_gan.py" in done.out
        assert (
            "my_gan.py, not in"
            in cli_run("doctor", "run", "--gan", "other.py").out.partition("note: ")[2]
        )

    def test_a_log_of_an_earlier_version(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        path = copy(tiny_run)
        known = (
            "images",
            "step",
            "epoch",
            "seconds",
            "lr",
            "d_loss",
            "g_loss",
            "d_real",
            "d_fake",
            "d_accuracy",
        )
        lines = [{name: line[name] for name in known} for line in tiny_run.read_log()]
        (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert Run.open(path).read_log() == lines
        found = examine(Run.open(path))
        assert found.state == "healthy"
        assert "diversity" in found.figures  # of the saved state
        shutil.rmtree(path / "tensorboard")
        train("cgan/tiny", path, images=320.0, seed=7)
