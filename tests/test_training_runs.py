"""What a training leaves on disk, how it stops, goes on and is repeated, and how it follows the clock."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganvas import launch, record, training
from ganvas.card import Card, Plan, weights_sha256
from ganvas.data.dataset import Dataset
from ganvas.errors import GanvasError, RunError, SettingError
from ganvas.run import Run

ARTEFACTS = {
    "recipe.json", "log.jsonl", "real_images.png", "losses.png", "progress.png", "neighbours.png",
    "generator.safetensors", "state.pt", "samples", "tensorboard", ".lock",
}  # fmt: skip


def train(recipe: str, out: Path | None = None, **options: Any) -> Run:
    return launch.train(recipe, out=out, quiet=True, **({"threads": 1} | options))


def state(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path / "state.pt", weights_only=True)
    return loaded


def assert_same_tree(one: Any, two: Any, at: str = "") -> None:
    """Equal to the bit, tensors and plain values; only the times may differ."""
    assert type(one) is type(two), at
    if isinstance(one, dict):
        assert one.keys() == two.keys(), at
        for key in one.keys() - {"seconds"}:
            assert_same_tree(one[key], two[key], f"{at}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), at
        for k, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same_tree(a, b, f"{at}/{k}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype, at
        assert one.numpy().tobytes() == two.numpy().tobytes(), at
    else:
        assert one == two, at


def assert_same_run(one: Path, two: Path) -> None:
    """Weights, optimizers, log and every picture are the same to the bit."""
    assert_same_tree(state(one), state(two))
    assert_same_tree(Run.open(one).read_log(), Run.open(two).read_log())
    assert (one / "generator.safetensors").read_bytes() == (two / "generator.safetensors").read_bytes()
    for pattern in ("samples/*", "weights/*", "*.png"):
        names = sorted(str(path.relative_to(one)) for path in one.glob(pattern))
        assert names == sorted(str(path.relative_to(two)) for path in two.glob(pattern))
        for name in names:
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


class TestArtefacts:
    def test_a_run_holds_what_was_promised_and_nothing_else(self, tiny_run: Run) -> None:
        assert {entry.name for entry in tiny_run.path.iterdir()} == ARTEFACTS
        assert sorted(path.name for path in (tiny_run.path / "samples").iterdir()) == ["000000160.png", "000000320.png"]
        for picture in tiny_run.path.rglob("*.png"):
            with Image.open(picture) as image:
                image.load()
                assert len(np.unique(np.asarray(image))) > 2, picture

    def test_the_card_says_all_that_repeating_needs(self, tiny_run: Run) -> None:
        card = json.loads((tiny_run.path / "recipe.json").read_text())
        assert card["format"] == 1
        assert (card["recipe"], card["gan"], card["seed"], card["threads"], card["device"]) == (
            "cgan/tiny", "cgan", 7, 1, "cpu")  # fmt: skip
        assert card["model"]["g_widths"] == [16, 16]
        assert card["train"]["length"] == "320 images"
        assert card["image"] == {"height": 28, "width": 28, "channels": 1, "classes": list("0123456789")}
        assert card["data"]["what"] == "mnist-5k"
        assert len(card["data"]["fingerprint"]) == 64
        assert card["plan"] == {"images": 320, "batch": 16, "epoch": 4000, "requested": "320 images", "revisions": []}
        assert card["versions"]["torch"] == str(torch.__version__)
        assert Card.from_json(tiny_run.card.to_json(), "here").to_json() == tiny_run.card.to_json()

    def test_the_log_has_the_mean_of_each_interval(
        self, tiny_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lines = tiny_run.read_log()
        assert [line["images"] for line in lines] == list(range(32, 321, 32))
        assert [line["step"] for line in lines] == list(range(2, 21, 2))
        assert [line["epoch"] for line in lines] == [images / 4000 for images in range(32, 321, 32)]
        assert {"seconds", "lr", "d_loss", "g_loss", "d_real", "d_fake", "d_accuracy"} < lines[0].keys()
        assert all(line["lr"] == 1e-3 for line in lines)
        steps: list[list[float]] = []
        take_step = training.take_step

        def noting(*arguments: Any) -> torch.Tensor:
            figures = take_step(*arguments)
            steps.append(figures.tolist())
            return figures

        monkeypatch.setattr(training, "take_step", noting)
        train("cgan/tiny", tmp_path / "again", images=320.0, seed=7)
        means = np.array(steps).reshape(10, 2, 5).mean(1)
        logged = np.array([[line[name] for name in record.STATISTICS] for line in lines])
        np.testing.assert_allclose(logged, means, rtol=1e-5, atol=1e-6)

    def test_tensorboard_shows_the_log_and_the_sheets(self, tiny_run: Run) -> None:
        board = EventAccumulator(str(tiny_run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
        board.Reload()
        for tag, name in (("D_loss", "d_loss"), ("G_loss", "g_loss"), ("D_real", "d_real"), ("D_fake", "d_fake")):
            events = board.Scalars(tag)
            assert [event.step for event in events] == [line["images"] for line in tiny_run.read_log()]
            np.testing.assert_allclose(
                [e.value for e in events], [line[name] for line in tiny_run.read_log()], rtol=1e-6
            )
        assert [image.step for image in board.Images("samples")] == [160, 320]
        assert (board.Images("samples")[0].height, board.Images("samples")[0].width) == (2 * 30 - 2, 10 * 30 - 2)

    def test_a_resumed_run_shows_no_step_twice_in_tensorboard(self, half_run: Run, copy: Callable[[Run], Path]) -> None:
        path = copy(half_run)
        with pytest.MonkeyPatch.context() as patch:  # a crash: much was logged after the last save
            patch.setattr(Run, "save_state", lambda *_: None)
            train("cgan/tiny", path, images=320.0, seed=7)
        train("cgan/tiny", path, images=320.0, seed=7)
        board = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
        board.Reload()
        assert [event.step for event in board.Scalars("D_loss")] == list(range(32, 321, 32))

    def test_sheets_are_made_from_the_same_latents_and_show_one_class_a_column(self, tiny_run: Run) -> None:
        with Image.open(tiny_run.path / "samples" / "000000320.png") as image:
            sheet = np.asarray(image)
        images = tiny_run.sample(n=20, seed=7).images[..., 0]
        assert sheet.shape == (2 * 58 - 2, 10 * 58 - 2)  # 28x28 at twice the size, 2 pixels apart
        for k, image_k in enumerate(images):
            y, x = k // 10 * 58, k % 10 * 58
            cell = sheet[y : y + 56, x : x + 56]
            assert np.abs(cell.astype(int) - image_k.repeat(2, 0).repeat(2, 1).astype(int)).max() <= 1

    def test_real_images_stand_in_the_columns_of_their_classes(self, tiny_run: Run) -> None:
        data = launch.data.load("mnist-5k")
        with Image.open(tiny_run.path / "real_images.png") as image:
            sheet = np.asarray(image)
        assert data.labels is not None
        for k in range(20):
            y, x = k // 10 * 58, k % 10 * 58
            shown = torch.from_numpy(sheet[y : y + 56 : 2, x : x + 56 : 2].copy())
            same = (data.images[:, 0] == shown).flatten(1).all(1)
            assert data.labels[same].tolist() == [k % 10]

    def test_generator_and_state_hold_the_same_weights_and_no_code(self, tiny_run: Run) -> None:
        saved = state(tiny_run.path)  # weights_only: unpickles tensors and plain values alone
        with safe_open(tiny_run.generator_file, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            card = dataclasses.replace(tiny_run.card, weights_sha256=weights_sha256(tensors))
            assert json.loads(file.metadata()["ganvas"]) == json.loads(card.to_json())
        assert_same_tree(tensors, dict(saved["learner"]["generator"]))
        assert saved["images_seen"] == 320
        assert saved["learner"].keys() >= {"generator", "discriminator", "g_optimizer", "d_optimizer"}

    def test_weights_are_kept_on_the_way_where_asked(self, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", images=96.0, settings={"weights": "32 images"})
        assert sorted(path.name for path in (run.path / "weights").iterdir()) == [
            "000000032.safetensors", "000000064.safetensors", "000000096.safetensors"]  # fmt: skip
        last, end = run.path / "weights" / "000000096.safetensors", run.generator_file
        assert last.read_bytes() == end.read_bytes()

    def test_progress_shows_up_to_four_moments_and_survives_a_lost_sheet(
        self, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        stop_after(8)
        with pytest.raises(KeyboardInterrupt):
            train("mlp/tiny", tmp_path / "run", images=320.0, settings={"sheet": "16 images"})
        (tmp_path / "run" / "samples" / "000000016.png").unlink()
        train("mlp/tiny", tmp_path / "run", images=320.0, settings={"sheet": "16 images"})
        assert (tmp_path / "run" / "progress.png").exists()
        with Image.open(tmp_path / "run" / "progress.png") as three:
            width = three.width
        run = train("mlp/tiny", tmp_path / "whole", images=320.0, settings={"sheet": "16 images"})
        with Image.open(run.path / "progress.png") as four:
            assert four.width > width * 1.2


class TestNearestImages:
    def test_planted_images_are_found(self) -> None:
        rng = torch.Generator().manual_seed(0)
        store = torch.randint(0, 256, (9000, 1, 6, 6), generator=rng, dtype=torch.uint8)  # more than two chunks
        wanted = torch.tensor([0, 4095, 4096, 5000, 8999])
        queries = (
            (store[wanted].int() + torch.randint(-3, 4, (5, 1, 6, 6), generator=rng)).clamp(0, 255).to(torch.uint8)
        )
        found = record.nearest_images(queries.permute(0, 2, 3, 1), Dataset("planted", store))
        assert torch.equal(found, store[wanted].permute(0, 2, 3, 1))

    def test_an_exact_copy_wins_over_one_that_differs_in_a_single_level(self) -> None:
        # distances by way of a matrix product lose such differences to rounding
        store = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
        store[:, 0, 0, 0] = torch.arange(192, 256)
        found = record.nearest_images(store[30:50].permute(0, 2, 3, 1), Dataset("close", store))
        assert found[:, 0, 0, 0].tolist() == list(range(222, 242))

    def test_neighbours_png_shows_pairs(self, tiny_run: Run) -> None:
        data = launch.data.load("mnist-5k")
        fakes = tiny_run.sampler()(range(20), seed=7)
        nearest = record.nearest_images(fakes, data)
        distances = (data.images.view(4000, -1).double() - fakes[4].reshape(1, -1).double()).square().sum(1)
        assert torch.equal(nearest[4, ..., 0], data.images[distances.argmin(), 0])
        with Image.open(tiny_run.path / "neighbours.png") as image:
            sheet = np.asarray(image.convert("L"))
        pair = np.concatenate([fakes[0, ..., 0].numpy(), nearest[0, ..., 0].numpy()], 1).repeat(2, 0).repeat(2, 1)
        windows = np.lib.stride_tricks.sliding_window_view(sheet[:200, :200], pair.shape)
        assert (windows == pair).all((2, 3)).any()


class TestSameBits:
    @pytest.mark.parametrize("recipe", ["cgan/tiny", "mlp/tiny", "dcgan/tiny"])
    def test_stopping_twice_changes_nothing(
        self, recipe: str, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        options: dict[str, Any] = {"images": 128.0, "seed": 3, "settings": {"log": "3 steps", "weights": "48 images"}}
        whole = train(recipe, tmp_path / "whole", **options)
        for steps in (3, 2):
            stop_after(steps)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, tmp_path / "pieces", **options)
        assert state(tmp_path / "pieces")["images_seen"] == 5 * whole.card.plan.batch
        torch.manual_seed(1)  # the state of the global generator must not matter
        pieces = train(recipe, tmp_path / "pieces", **options)
        assert_same_run(whole.path, pieces.path)

    def test_a_crash_is_gone_on_from_the_last_save(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Callable[[int], None]
    ) -> None:
        """What was logged and drawn after the last save is made again, to the bit."""
        options: dict[str, Any] = {"images": 320.0, "seed": 3, "settings": {"sheet": "32 images"}}
        whole = train("cgan/tiny", tmp_path / "whole", **options)
        stop_after(5)
        with pytest.raises(KeyboardInterrupt):
            train("cgan/tiny", tmp_path / "run", **options)
        with monkeypatch.context() as patch:
            step = training.take_step
            patch.setattr(training, "take_step", lambda a, b, seen: step(a, b, seen) if seen < 240 else 1 / 0)
            patch.setattr(record, "FLUSH_SECONDS", 0)
            with pytest.raises(ZeroDivisionError):
                train("cgan/tiny", tmp_path / "run", **options)
        assert Run.open(tmp_path / "run").read_log()[-1]["images"] == 224
        with open(tmp_path / "run" / "log.jsonl", "a") as file:
            file.write('{"images": 256, "d_lo')  # cut short
        assert_same_run(whole.path, train("cgan/tiny", tmp_path / "run", **options).path)

    def test_same_request_same_bits(self, tiny_run: Run, tmp_path: Path) -> None:
        torch.manual_seed(99)
        assert_same_run(tiny_run.path, train("cgan/tiny", tmp_path / "again", images=320.0, seed=7).path)

    def test_another_seed_gives_other_weights_data_order_and_latents(self, tiny_run: Run, tmp_path: Path) -> None:
        other = train("cgan/tiny", tmp_path / "other", images=320.0, seed=8)
        one, two = state(tiny_run.path)["learner"]["generator"], state(other.path)["learner"]["generator"]
        assert all(not torch.equal(one[name], two[name]) for name in one if name.endswith("weight"))
        assert tiny_run.read_log()[0]["d_loss"] != other.read_log()[0]["d_loss"]

    def test_the_global_generator_is_left_alone(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        train("mlp/tiny", tmp_path / "run", images=32.0)
        assert torch.equal(before, torch.get_rng_state())

    def test_a_card_as_config_repeats_the_run_to_the_bit(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = cli_run("train", "--config", tiny_run.path / "recipe.json", "--out", "again")
        assert (done.code, done.out) == (0, "again\n")
        assert_same_run(tiny_run.path, tmp_path / "again")
        assert Run.open(tmp_path / "again").card == Run.open(tiny_run.path).card

    def test_a_card_with_revisions_is_repeated_with_them(
        self, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        """As a training by the clock leaves it: its plan was revised on the way, and its rates follow the plan."""
        settings = {"train.lr.start": 1e-3, "train.lr.shape": "linear"}
        train("mlp/tiny", tmp_path / "plain", images=160.0, settings=settings)
        card = json.loads((tmp_path / "plain" / "recipe.json").read_text())
        card["plan"]["revisions"] = [[64, 240], [128, 192]]
        card["train"]["length"] = card["plan"]["requested"] = "0.1 minutes"
        (tmp_path / "card.json").write_text(json.dumps(card))
        one = launch.train(config=tmp_path / "card.json", out=tmp_path / "one", quiet=True)
        assert state(one.path)["images_seen"] == 192
        rates = [line["lr"] for line in one.read_log()]
        assert rates == sorted(rates, reverse=True)
        assert rates != [line["lr"] for line in Run.open(tmp_path / "plain").read_log()]
        assert one.card.plan.revisions == ((64, 240), (128, 192))
        stop_after(6)
        with pytest.raises(KeyboardInterrupt):
            launch.train(config=tmp_path / "card.json", out=tmp_path / "two", quiet=True)
        two = launch.train(config=tmp_path / "card.json", out=tmp_path / "two", quiet=True)
        assert_same_run(one.path, two.path)


class TestStopping:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_saves_says_how_to_go_on_and_sets_the_exit_code(
        self, number: int, code: int, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        """In a process of its own, as a shell would see it."""
        command = [
            sys.executable,
            "-m",
            "ganvas",
            "train",
            "cgan/tiny",
            "--epochs",
            "1000",
            "--threads",
            "1",
            "--verbose",
        ]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("epoch"):
                    break
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == code
        assert out == ""
        assert "Traceback" not in err
        path = Path("runs", "0001-cgan-tiny-mnist-5k")
        assert f"to go on: ganvas train --out {path}" in err.splitlines()[-1]
        seen = state(tmp_path / path)["images_seen"]
        assert seen > 0
        assert Run.open(tmp_path / path).read_log()[-1]["images"] <= seen
        Run.open(tmp_path / path).sample(n=2)

    def test_commands_that_are_told_can_be_pasted_into_a_shell(
        self, cli_run: Callable[..., Any], stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        (tmp_path / "my code").mkdir()
        (tmp_path / "my code" / "my gan.py").write_text(MY_GAN)
        stop_after(3)
        command = ("train", "my code/my gan.py:two", "--threads", "1", "--out", "my run", "--data-dir", "my data")
        told = cli_run(*command).err.splitlines()[-1].partition("to go on: ")[2]
        assert shlex.split(told) == ["ganvas", *command[:2], *command[4:]]
        with pytest.raises(RunError, match="has no generator yet") as caught:
            no_generator = Run.open(tmp_path / "my run", gan=str(tmp_path / "my code" / "my gan.py"))
            no_generator.generator_file.unlink()
            no_generator.sampler()
        again = shlex.split(str(caught.value).partition("go on with ")[2])
        assert again == ["ganvas", "train", str(tmp_path / command[1]), "--out", str(tmp_path / "my run")]
        done = cli_run(*shlex.split(told)[1:])
        assert done.code == 0, done.err
        look = shlex.split(done.err.splitlines()[-1].partition(", or: ")[2])
        assert look == ["ganvas", "sample", "my run", "--gan", "my code/my gan.py"]
        for words in (("sample", "my run"), ("train", "--out", "my run"), ("train", "--config", "my run/recipe.json")):
            assert "'PATH/my gan.py" in cli_run(*words).error
        assert cli_run(*look[1:]).code == 0

    def test_the_state_is_saved_every_so_often(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert training.SAVE_SECONDS <= 60
        now, saves = 0.0, []
        save_state = Run.save_state

        def noting(self: Run, saved: dict[str, Any]) -> None:
            saves.append((now, saved["images_seen"]))
            save_state(self, saved)
            assert self.generator_file.exists() or not saves[1:]

        def step(*arguments: Any) -> Any:
            nonlocal now
            now += 5.0  # each step takes 5 seconds
            return take_step(*arguments)

        take_step = training.take_step
        monkeypatch.setattr(Run, "save_state", noting)
        monkeypatch.setattr(training, "take_step", step)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        train("mlp/tiny", tmp_path / "run", images=640.0)
        times = [0.0, *[at for at, _ in saves]]
        assert len(times) > 4
        assert max(b - a for a, b in itertools.pairwise(times)) <= 60
        assert saves[-1][1] == 640

    def test_a_damaged_last_log_line_does_not_stop_reading(self, half_run: Run, copy: Callable[[Run], Path]) -> None:
        path = copy(half_run)
        with open(path / "log.jsonl", "a") as file:
            file.write('{"images": 1')
        assert Run.open(path).read_log() == half_run.read_log()


class TestGoingOn:
    def test_same_command_goes_on(
        self, cli_run: Callable[..., Any], stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        command = ("train", "cgan/tiny", "--images", "320", "--threads", "1")
        stop_after(5)
        assert cli_run(*command).code == 130
        done = cli_run(*command)
        assert (done.code, done.out) == (0, "runs/0001-cgan-tiny-mnist-5k\n")
        assert "going on with runs/0001-cgan-tiny-mnist-5k after 80 of 320 images" in done.err
        third = cli_run(*command)  # finished: so the next number
        assert third.out == "runs/0002-cgan-tiny-mnist-5k\n"
        assert_same_run(tmp_path / "runs/0001-cgan-tiny-mnist-5k", tmp_path / "runs/0002-cgan-tiny-mnist-5k")

    @pytest.mark.parametrize(
        "other", [("--seed", "1"), ("--images", "336"), ("--set", "lr=0.002"), ("--data", "pictures"), ("--threads", "2"),
                  ("--size", "14")]
    )  # fmt: skip
    def test_another_request_is_another_run(
        self, other: tuple[str, str], cli_run: Callable[..., Any], stop_after: Callable[[int], None], pictures: Path
    ) -> None:
        options = {"--images": "320", "--threads": "1"}
        flat = [word for pair in options.items() for word in pair]
        stop_after(5)
        cli_run("train", "cgan/tiny", *flat)
        changed = [word for pair in (options | dict([other])).items() for word in pair]
        done = cli_run("train", "cgan/tiny", *changed)
        assert done.out.startswith("runs/0002-")
        assert cli_run("train", "cgan/tiny", *flat).out == "runs/0001-cgan-tiny-mnist-5k\n"

    def test_the_newest_unfinished_run_is_taken(
        self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path
    ) -> None:
        for name in ("0001-a", "0003-a", "0002-a"):
            shutil.copytree(half_run.path, tmp_path / "runs" / name)
        done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7")
        assert done.out == "runs/0003-a\n"  # with its own thread count, where none is asked for

    def test_numbers_of_more_than_four_digits(self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path) -> None:
        for name in ("9999-a", "10000-a", "0002-a", "2024 pictures"):
            shutil.copytree(half_run.path, tmp_path / "runs" / name)
        assert cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7").out == "runs/10000-a\n"
        for number in (10001, 10002):
            done = cli_run("train", "mlp/tiny", "--images", "32", "--threads", "1")
            assert done.out == f"runs/{number}-mlp-tiny-mnist-5k\n"

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    def test_a_damaged_run_that_is_passed_over_is_named(
        self, name: str, cli_run: Callable[..., Any], half_run: Run, tiny_run: Run, tmp_path: Path
    ) -> None:
        for number in (1, 2, 3, 4):
            shutil.copytree((tiny_run if number == 3 else half_run).path, tmp_path / "runs" / f"000{number}-a")
        (tmp_path / "runs" / "0002-a" / name).write_bytes(b"\xff\xfe\n\n")
        (tmp_path / "runs" / "0005-new").mkdir()
        with Run.open(tmp_path / "runs" / "0004-a").locked():  # neither a busy run nor a finished one is worth a word
            done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7")
        assert done.out == "runs/0001-a\n"
        told = [line for line in done.err.splitlines() if "not gone on with" in line]
        assert len(told) == 1
        assert f"runs/0002-a/{name}" in told[0]
        assert "damaged" in told[0]
        assert [line for line in done.err.splitlines() if "0003" in line or "0004" in line or "0005" in line] == []

    def test_out_goes_on_with_little_said(
        self, cli_run: Callable[..., Any], half_run: Run, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(half_run)
        done = cli_run("train", "--out", path)
        assert (done.code, done.out) == (0, f"{path}\n")
        assert_same_run(tiny_run.path, path)

    def test_a_finished_run_says_so_and_is_left_as_it_is(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path], tree: Callable[[Path], Any]
    ) -> None:
        path = copy(tiny_run)
        before = tree(path)
        done = cli_run("train", "--out", path)
        assert (done.code, done.out) == (0, f"{path}\n")
        assert "is finished" in done.err
        assert tree(path) == before

    def test_fresh_starts_anew_and_loses_nothing(
        self,
        cli_run: Callable[..., Any],
        half_run: Run,
        copy: Callable[[Run], Path],
        tree: Callable[[Path], Any],
        tmp_path: Path,
    ) -> None:
        path = copy(half_run)
        before = tree(path)
        for number in (1, 2):
            done = cli_run("train", "cgan/tiny", "--images", "32", "--threads", "1", "--out", path, "--fresh")
            assert (done.code, done.out) == (0, f"{path}\n")
            assert f"kept as {path}.{number}" in done.err
        assert tree(tmp_path / "run.1") == before
        assert state(path)["images_seen"] == state(tmp_path / "run.2")["images_seen"] == 32

    def test_fresh_alone_makes_the_same_run_once_more(
        self, cli_run: Callable[..., Any], pictures: Path, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        stop_after(2)
        command = (
            "train",
            "cgan/tiny",
            "--data",
            pictures,
            "--size",
            "9",
            "--images",
            "64",
            "--seed",
            "5",
            "--threads",
            "1",
        )
        assert cli_run(*command, "--set", "g_widths=[5]", "lr.shape=linear", "--out", "run").code == 130
        first = Run.open(tmp_path / "run").card
        assert cli_run("train", "--fresh", "--out", "run").code == 0
        assert Run.open(tmp_path / "run").card == first
        assert state(tmp_path / "run")["images_seen"] == 64
        done = cli_run("train", "--fresh", "--out", "run", "--set", "batch=8", "--epochs", "2", "--seed", "6")
        assert done.code == 0, done.err
        card = Run.open(tmp_path / "run").card
        assert (card.seed, card.plan.total, card.plan.requested) == (6, 24, "2 epochs")
        assert card.train == first.train | {"batch": 8, "length": "2 epochs"}
        assert (card.recipe, card.model, card.data) == (first.recipe, first.model, first.data)

    def test_fresh_alone_measures_minutes_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
        first = train("mlp/tiny", tmp_path / "run", minutes=5.0)
        first.save_card(dataclasses.replace(first.card, plan=first.card.plan.revise(16, 32)))
        again = launch.train(out=tmp_path / "run", fresh=True, quiet=True)
        assert again.card.plan.requested == "5 minutes"
        assert again.card.plan.revisions == ()

    def test_fresh_alone_needs_a_card_that_can_be_read(
        self, cli_run: Callable[..., Any], half_run: Run, copy: Callable[[Run], Path], tree: Callable[[Path], Any]
    ) -> None:
        path = copy(half_run)
        (path / "recipe.json").write_text("{")
        before = tree(path)
        message = cli_run("train", "--fresh", "--out", path).error
        assert "recipe.json is damaged" in message
        assert "name a recipe" in message
        assert tree(path) == before

    def test_fresh_without_out_takes_the_next_number(
        self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path, tree: Callable[[Path], Any]
    ) -> None:
        shutil.copytree(half_run.path, tmp_path / "runs" / "0004-old")
        before = tree(tmp_path / "runs")
        done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--threads", "1", "--fresh")
        assert done.out == "runs/0005-cgan-tiny-mnist-5k\n"
        after = tree(tmp_path / "runs")
        assert {name: after[name] for name in before} == before

    def test_a_busy_run_is_not_gone_on_with(self, cli_run: Callable[..., Any], half_run: Run, tmp_path: Path) -> None:
        shutil.copytree(half_run.path, tmp_path / "runs" / "0001-a")
        with Run.open(tmp_path / "runs" / "0001-a").locked():
            done = cli_run("train", "cgan/tiny", "--images", "320", "--seed", "7", "--threads", "1")
        assert done.out == "runs/0002-cgan-tiny-mnist-5k\n"


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
        for path in sorted((pictures / "dog").iterdir())[:-2] + sorted((pictures / "cat").iterdir())[:-1]:
            path.unlink()
        for name in ("a", "b"):
            shutil.copy(pictures / "dog" / "11.png", pictures / "cat" / f"{name}.png")
        run = train("cgan/tiny", tmp_path / "run", data=str(pictures), images=64.0)
        assert run.card.data.images == 5
        assert state(run.path)["images_seen"] == 64
        assert run.sample(labels="cat,dog").images.shape == (2, 8, 8, 1)

    def test_settings_from_toml_with_the_command_line_on_top(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        (tmp_path / "my.toml").write_text(
            'recipe = "cgan/tiny"\nimages = 64\nseed = 5\nthreads = 1\nsize = 14\n[train]\nbatch = 8\nlr = 0.5\n'
            "[model]\ng_widths = [6, 5]\n"
        )
        done = cli_run(
            "train", "--config", "my.toml", "--seed", "6", "--set", "lr=0.001", "--epochs", "0.02", "--out", "run"
        )
        assert done.code == 0, done.err
        card = Run.open(tmp_path / "run").card
        assert (card.seed, card.train["batch"], card.train["lr"], card.model["g_widths"]) == (6, 8, 0.001, [6, 5])
        assert (card.image.height, card.image.width) == (14, 14)
        assert card.plan.total == 80
        assert cli_run("train", "--config", "my.toml", "--out", "plain").code == 0
        assert Run.open(tmp_path / "plain").card.plan.total == 64

    def test_single_settings_on_top_of_a_card_leave_its_others(self, tmp_path: Path) -> None:
        one = train("mlp/tiny", tmp_path / "one", images=32.0, settings={"lr": 0.5, "eps": 0.25})
        changes = {"train": {"lr": 0.125}}
        two = launch.train(config=one.path / "recipe.json", out=tmp_path / "two", settings=changes, quiet=True)
        assert two.card.train == one.card.train | {"lr": 0.125}

    def test_a_config_with_other_data_plans_for_those(self, tiny_run: Run, pictures: Path, tmp_path: Path) -> None:
        run = launch.train(config=tiny_run.path / "recipe.json", data=str(pictures), out=tmp_path / "run", quiet=True)
        assert run.card.plan.epoch == 12

    def test_a_config_never_leads_to_code(self, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
        card = json.loads((tiny_run.path / "recipe.json").read_text()) | {"recipe": "evil.py:x", "gan": "evil.py"}
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


MY_GAN = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from ganvas import objectives
from ganvas.gan import Gan
from ganvas.recipe import ImageSpec, Recipe, TrainConfig

@dataclass(frozen=True, kw_only=True)
class Config:
    z_dim: int = 4

class Generator(nn.Module):
    def __init__(self, z_dim, spec):
        super().__init__()
        self.shape = (spec.channels, spec.height, spec.width)
        self.layer = nn.Linear(z_dim, spec.channels * spec.height * spec.width)
        self.drop = nn.Dropout(0.5)
    def forward(self, z):
        return torch.tanh(self.layer(self.drop(z))).view(-1, *self.shape)

class Discriminator(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.channels * spec.height * spec.width, 1))
    def forward(self, x):
        return self.layers(x).squeeze(1)

def build(config: Config, spec: ImageSpec) -> Gan:
    return Gan(Generator(config.z_dim, spec), Discriminator(spec), objectives.minimax, config.z_dim)

RECIPES = {
    "one": Recipe(
        model=Config(), train=TrainConfig(batch=8, length="64 images", lr=1e-3, log="1 steps", sheet="32 images"),
        native=ImageSpec(height=8, width=8, channels=1), summary="mine"),
    "two": Recipe(
        model=Config(z_dim=2), train=TrainConfig(batch=8, length="64 images", lr=1e-3),
        native=ImageSpec(height=8, width=8, channels=1)),
}
"""


class TestOwnFile:
    @pytest.fixture
    def own(self, tmp_path: Path) -> Path:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "my_gan.py").write_text(MY_GAN)
        return tmp_path / "code" / "my_gan.py"

    def test_it_trains_goes_on_and_samples_like_a_built_in(
        self, own: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None], tmp_path: Path
    ) -> None:
        whole = cli_run("train", own, "--threads", "1", "--out", "whole")
        assert whole.code == 0, whole.err
        assert "ganvas sample whole --gan" in whole.err
        stop_after(3)
        stopped = cli_run("train", own, "--threads", "1")
        assert stopped.code == 130
        assert f"ganvas train {own} --out runs/0001-my_gan-one-mnist-5k" in stopped.err
        assert cli_run("train", own, "--out", "runs/0001-my_gan-one-mnist-5k").code == 0
        assert_same_run(tmp_path / "whole", tmp_path / "runs" / "0001-my_gan-one-mnist-5k")  # nn.Dropout too
        card = Run.open(tmp_path / "whole").card
        assert (card.recipe, card.gan) == ("my_gan.py:one", "my_gan.py")
        assert str(tmp_path) not in card.to_json().replace(card.data.what, "")
        done = cli_run("sample", "whole", "--gan", own, "--n", "4", "--out", "four.npz")
        assert done.code == 0, done.err
        assert np.load("four.npz")["images"].shape == (4, 28, 28, 1)

    def test_another_recipe_of_the_file(self, own: Path, tmp_path: Path) -> None:
        run = train(f"{own}:two", tmp_path / "run")
        assert run.card.recipe == "my_gan.py:two"
        assert run.card.model == {"z_dim": 2}
        assert len(run.sample(n=3).images) == 3  # the one who trained it has given the file already

    def test_nothing_runs_the_file_unasked(self, own: Path, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        train(str(own), tmp_path / "run")
        own.write_text(MY_GAN + "\nimport pathlib\npathlib.Path('ran').touch()\n")
        for place in (tmp_path / "run", tmp_path / "run" / "generator.safetensors"):
            assert "--gan PATH/my_gan.py" in cli_run("sample", place).error
        assert "my_gan.py" in cli_run("train", "--out", "run").error
        other = own.with_name("other.py")
        other.write_text(MY_GAN)
        assert "my_gan.py, not in other.py" in cli_run("sample", "run", "--gan", other).error
        assert not (tmp_path / "ran").exists()

    def test_a_changed_file_still_samples_where_the_weights_fit(
        self, own: Path, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        train(str(own), tmp_path / "run")
        command = ("sample", "run", "--gan", own, "--n", "2")
        assert cli_run(*command).err == ""
        own.write_text(MY_GAN + "\n# changed\n")
        done = cli_run(*command)
        assert (done.code, done.err) == (
            0,
            f"note: {own} is not as it was in training: images may differ from the run's\n",
        )
        own.write_text(MY_GAN.replace("nn.Linear(z_dim, ", "nn.Linear(1 + z_dim, "))
        assert f"does not fit {own} as it is now" in cli_run(*command).error
        own.write_text(MY_GAN.replace("z_dim: int = 4", "size: int = 4").replace("z_dim=2", "size=2"))
        assert "do not fit my_gan.py" in cli_run(*command).error

    def test_a_changed_file_does_not_go_on_with_the_old_run(
        self, own: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None]
    ) -> None:
        stop_after(3)
        cli_run("train", own, "--threads", "1", "--out", "run")
        own.write_text(MY_GAN + "\n# changed\n")
        assert "was made with file=" in cli_run("train", own, "--threads", "1", "--out", "run").error


TOTALS = st.integers(1, 10**7)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan with up to four revisions, each later than the one before and not into the past."""
    batch = draw(st.integers(1, 256))
    plan = Plan(images=draw(TOTALS), batch=batch, epoch=draw(st.integers(1, 10**5)), requested="5 minutes")
    at = 0
    for _ in range(draw(st.integers(0, 4))):
        if plan.total - batch <= at:
            break
        at = batch * draw(st.integers(at // batch + 1, max(at // batch + 1, plan.total // batch - 1)))
        plan = plan.revise(at, at + draw(st.integers(1, 10**7)))
    return plan


class TestPlan:
    @given(plans())
    def test_progress_runs_from_0_to_1_without_a_step_back_or_a_jump(self, plan: Plan) -> None:
        ats = [at for at, _ in plan.revisions]
        points = sorted({0, plan.total, plan.total // 2, *ats, *[at - 1 for at in ats], *[at + 1 for at in ats]})
        values = [plan.progress(point) for point in points]
        assert values[0] == 0
        assert plan.progress(plan.total) == pytest.approx(1)
        assert values == sorted(values)
        assert all(0 <= value <= 1 for value in values)
        for at in ats:  # continuous where it is revised
            assert plan.progress(at) == pytest.approx(plan.progress(at - 1e-6), abs=1e-5)

    @given(plans())
    def test_the_total_is_whole_steps_and_no_less_than_asked(self, plan: Plan) -> None:
        asked = plan.revisions[-1][1] if plan.revisions else plan.images
        assert plan.total % plan.batch == 0
        assert asked <= plan.total < asked + plan.batch

    @given(plans(), st.integers(1, 10**7))
    def test_a_revision_leaves_the_past_as_it_was(self, plan: Plan, images: int) -> None:
        at = plan.revisions[-1][0] + plan.batch if plan.revisions else plan.batch
        revised = plan.revise(at, at + images)
        for seen in (0, at // 3, at // 2, at - 1):
            assert revised.progress(seen) == plan.progress(seen)
        assert plan.revisions == revised.revisions[:-1]
        restored = Plan(**dataclasses.asdict(revised) | {"revisions": revised.revisions})
        assert restored == revised

    @given(plans(), st.data())
    def test_per_epoch_progress_is_that_of_the_epochs_start(self, plan: Plan, data: st.DataObject) -> None:
        seen = data.draw(st.integers(0, plan.total))
        value = plan.epoch_progress(seen)
        if plan.total < 2 * plan.epoch:
            assert value == plan.progress(seen)
        else:
            assert value == plan.progress(seen - seen % plan.epoch)
            assert value == plan.epoch_progress(seen - seen % plan.epoch)
            assert value <= plan.progress(seen)


class TestClock:
    """The clock in a made-up time, where a step takes as long as the test says."""

    def finish(
        self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], planned: int, budget: float
    ) -> tuple[float, Plan]:
        """When a training is through whose step after `n` images takes seconds(n), and its plan then."""
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        clock = training.Clock(now + budget, 0)
        plan = Plan(images=planned, batch=10, epoch=100, requested=f"{budget} s")
        seen = 0
        while seen < plan.total:
            now += seconds(seen)
            seen += 10
            if (total := clock.revised(plan, seen)) is not None:
                assert total >= seen
                plan = plan.revise(seen, total)
        return now - 1000.0, plan

    @pytest.mark.parametrize("factor", [0.2, 0.5, 0.9, 1.1, 2.0, 5.0])
    def test_a_wrong_estimate_is_made_good(self, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 0.01 * factor, planned=60_000, budget=60)
        assert 57 < took < 61.5
        assert plan.revisions

    def test_a_right_estimate_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 0.01, planned=60_000, budget=60)
        assert plan.revisions == ()
        assert took == pytest.approx(60)

    def test_a_machine_that_slows_down_half_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        took, _ = self.finish(monkeypatch, lambda seen: 0.01 if seen < 30_000 else 0.03, planned=60_000, budget=60)
        assert 57 < took < 62

    def test_steps_longer_than_the_whole_budget_end_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        took, plan = self.finish(monkeypatch, lambda _: 30.0, planned=1000, budget=20)
        assert (took, plan.total) == (30.0, 10)

    def test_without_a_deadline_nothing_is_revised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = training.Clock(None, 0)
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        assert clock.revised(Plan(images=10, batch=1, epoch=1, requested=""), 5) is None

    def test_minutes_count_from_the_commands_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was spent before training is taken off, and the whole plan is known beforehand."""
        deadlines: list[float] = []
        monkeypatch.setattr(launch, "train_run", lambda *_, deadline, **__: deadlines.append(deadline) or 0)
        for minutes, spent in ((10.0, 0.0), (10.0, 480.0)):
            run = train("mlp/tiny", tmp_path / f"{spent}", minutes=minutes, started=time.time() - spent)
            left = minutes * 60 - spent
            assert left - 12 < deadlines[-1] - time.monotonic() < left
            assert run.card.plan.requested == "10 minutes"
        whole, short = (Run.open(tmp_path / name).card.plan.images for name in ("0.0", "480.0"))
        assert short < whole / 2

    @pytest.mark.parametrize("spent", [3.0, 11.0, 67.0, 700.0])
    def test_the_least_minutes_that_are_told_are_enough(
        self, spent: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launch, "train_run", lambda *_, **__: 0)
        with pytest.raises(SettingError, match="too short") as caught:
            train("mlp/tiny", tmp_path / "run", minutes=0.01, started=time.time() - spent)
        enough = float(str(caught.value).split()[-1])
        train("mlp/tiny", tmp_path / "run", minutes=enough, started=time.time() - spent)

    def test_a_training_by_the_clock_goes_on_with_its_plan(
        self, tmp_path: Path, cli_run: Callable[..., Any], stop_after: Callable[[int], None]
    ) -> None:
        stop_after(40)
        command = ("train", "mlp/tiny", "--minutes", "9", "--out", "run", "--threads", "1")
        assert cli_run(*command).code == 130
        planned = Run.open(tmp_path / "run").card.plan
        stop_after(10)
        assert cli_run(*command).code == 130
        assert Run.open(tmp_path / "run").card.plan == planned
        assert state(tmp_path / "run")["images_seen"] == 50 * 16
