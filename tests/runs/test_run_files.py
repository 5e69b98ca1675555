"""The files that a training writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganvas import objectives
from ganvas.data import load_dataset
from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_uint8
from ganvas.evaluation import metrics
from ganvas.gan import Logits
from ganvas.launch import launch
from ganvas.recipe import MAX_AUGMENT
from ganvas.runs import loss_curves
from ganvas.runs.card import Card
from ganvas.runs.run import Run
from ganvas.runs.weights import open_generator, read_weights, weights_sha256, write_safetensors
from ganvas.sampling.latents import LATENT_DRAW, latents
from ganvas.training import logger, loop, pictures
from helpers.common import assert_same_tree, state, train

ARTEFACTS = {
    "recipe.json",
    "log.jsonl",
    "real_images.png",
    "losses.png",
    "progress.png",
    "neighbours.png",
    "generator.safetensors",
    "state.pt",
    "samples",
    "tensorboard",
    ".lock",
}


class TestArtefacts:
    def test_a_run_holds_its_files_and_nothing_else(self, tiny_run: Run) -> None:
        assert {entry.name for entry in tiny_run.path.iterdir()} == ARTEFACTS
        assert sorted(path.name for path in (tiny_run.path / "samples").iterdir()) == [
            "000000160.png",
            "000000320.png",
        ]
        for picture in set(tiny_run.path.rglob("*.png")) - {tiny_run.path / "losses.png"}:
            with Image.open(picture) as image:
                image.load()
                assert len(np.unique(np.asarray(image))) > 2, picture

    def test_the_loss_curves_are_drawn_at_the_end_and_are_those_of_the_log(
        self, drawn_losses: None, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        whole = train("mlp/tiny", tmp_path / "whole", images=64.0)
        stop_after(2)
        with pytest.raises(KeyboardInterrupt):
            train("mlp/tiny", tmp_path / "pieces", images=64.0)
        pieces = train("mlp/tiny", tmp_path / "pieces", images=64.0)
        drawn = (whole.path / "losses.png").read_bytes()
        assert drawn == (pieces.path / "losses.png").read_bytes()
        assert drawn == loss_curves.losses(whole.read_log())
        with Image.open(whole.path / "losses.png") as image:
            assert len(np.unique(np.asarray(image))) > 2

    def test_the_card_holds_all_that_repeating_needs(self, tiny_run: Run) -> None:
        card = json.loads((tiny_run.path / "recipe.json").read_text())
        assert card["format"] == 1
        assert (card["recipe"], card["gan"], card["seed"], card["threads"], card["device"]) == (
            "cgan/tiny",
            "cgan",
            7,
            1,
            "cpu",
        )
        assert card["model"]["g_widths"] == [16, 16]
        assert card["train"]["length"] == "320 images"
        assert card["image"] == {
            "height": 28,
            "width": 28,
            "channels": 1,
            "classes": list("0123456789"),
        }
        assert card["data"]["what"] == "mnist-5k"
        assert len(card["data"]["fingerprint"]) == 64
        assert card["plan"] == {
            "images": 320,
            "batch": 16,
            "epoch": 4000,
            "requested": "320 images",
            "revisions": [],
        }
        assert card["versions"]["torch"] == str(torch.__version__)
        assert Card.from_json(tiny_run.card.to_json(), "here").to_json() == tiny_run.card.to_json()

    def test_a_generator_keeps_the_draw_of_latents_that_it_was_made_with(
        self, tiny_run: Run, tmp_path: Path
    ) -> None:
        """A card of the first draw names none."""
        tensors, card = read_weights(tiny_run.generator_file)
        assert card.latent_draw == LATENT_DRAW == 2
        earlier = json.loads(card.to_json())
        del earlier["latent_draw"]
        path = tmp_path / "earlier.safetensors"
        write_safetensors(path, tensors, json.dumps(earlier))
        sampler, _ = open_generator(path)
        drawn = torch.from_numpy(latents(range(5), 3, sampler.gan.z_dim, draw=1))
        labels = torch.arange(5)
        with torch.inference_mode():
            images = to_uint8(sampler.gan.generator.eval()(drawn, labels))
        assert torch.equal(sampler(range(5), seed=3), images)
        assert not torch.equal(tiny_run.sampler()(range(5), seed=3), images)

    def test_the_log_has_the_mean_of_each_interval(
        self, tiny_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        lines = tiny_run.read_log()
        assert [line["images"] for line in lines] == list(range(32, 321, 32))
        assert [line["step"] for line in lines] == list(range(2, 21, 2))
        assert [line["epoch"] for line in lines] == [images / 4000 for images in range(32, 321, 32)]
        assert {"seconds", "lr", "d_loss", "g_loss", "d_real", "d_fake", "d_accuracy"} < lines[
            0
        ].keys()
        assert all(line["lr"] == 1e-3 for line in lines)
        steps: list[list[float]] = []
        take_step = loop.take_step

        def noting(*arguments: Any) -> Logits:
            logits = take_step(*arguments)
            steps.append(logger.statistics(objectives.least_squares, 1.0, [logits])[0].tolist())
            return logits

        monkeypatch.setattr(loop, "take_step", noting)
        train("cgan/tiny", tmp_path / "again", images=320.0, seed=7)
        means = np.array(steps).reshape(10, 2, 5).mean(1)
        logged = np.array([[line[name] for name in logger.STATISTICS] for line in lines])
        np.testing.assert_allclose(logged, means, rtol=1e-5, atol=1e-6)

    def test_the_log_has_the_probability_of_adaptive_augmentation(
        self, tiny_run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = launch.train(
            "mlp/tiny",
            data=pictures,
            out=tmp_path / "adaptive",
            images=2560.0,
            threads=1,
            verbose=True,
            settings={"train.augment": "adaptive"},
        )
        probabilities = [line["augmentation"] for line in run.read_log()]
        assert (
            0 < probabilities[0] < probabilities[-1] <= MAX_AUGMENT
        )  # of so few images none are held out: p climbs
        assert probabilities[-1] == state(run.path)["learner"]["augmentation"]["p"]
        assert (
            f"  augmented {probabilities[-1]:.0%}  2,560 of 2,560 images" in capsys.readouterr().err
        )
        assert not any("augmentation" in line for line in tiny_run.read_log())

    def test_tensorboard_shows_the_log_and_the_sheets(self, tiny_run: Run) -> None:
        board = EventAccumulator(
            str(tiny_run.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
        )
        board.Reload()
        for tag, name in (
            ("D_loss", "d_loss"),
            ("G_loss", "g_loss"),
            ("D_real", "d_real"),
            ("D_fake", "d_fake"),
        ):
            events = board.Scalars(tag)
            assert [event.step for event in events] == [
                line["images"] for line in tiny_run.read_log()
            ]
            np.testing.assert_allclose(
                [e.value for e in events], [line[name] for line in tiny_run.read_log()], rtol=1e-6
            )
        assert [image.step for image in board.Images("samples")] == [160, 320]
        assert (board.Images("samples")[0].height, board.Images("samples")[0].width) == (
            2 * 30 - 2,
            10 * 30 - 2,
        )

    def test_a_resumed_run_shows_no_step_twice_in_tensorboard(
        self, half_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(half_run)
        with pytest.MonkeyPatch.context() as patch:  # a crash: much was logged after the last save
            patch.setattr(Run, "save_state", lambda *_: None)
            train("cgan/tiny", path, images=320.0, seed=7)
        train("cgan/tiny", path, images=320.0, seed=7)
        board = EventAccumulator(
            str(path / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
        )
        board.Reload()
        assert [event.step for event in board.Scalars("D_loss")] == list(range(32, 321, 32))

    def test_sheets_are_made_from_the_same_latents_and_show_one_class_a_column(
        self, tiny_run: Run
    ) -> None:
        with Image.open(tiny_run.path / "samples" / "000000320.png") as image:
            sheet = np.asarray(image)
        images = tiny_run.sample(n=20, seed=7).images[..., 0]
        assert sheet.shape == (2 * 58 - 2, 10 * 58 - 2)  # 28x28 at twice the size, 2 pixels apart
        for k, image_k in enumerate(images):
            y, x = k // 10 * 58, k % 10 * 58
            cell = sheet[y : y + 56, x : x + 56]
            assert (
                np.abs(cell.astype(int) - image_k.repeat(2, 0).repeat(2, 1).astype(int)).max() <= 1
            )

    def test_real_images_stand_in_the_columns_of_their_classes(self, tiny_run: Run) -> None:
        data = load_dataset("mnist-5k")
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
        assert saved["learner"].keys() >= {
            "generator",
            "discriminator",
            "g_optimizer",
            "d_optimizer",
        }

    def test_weights_are_kept_on_the_way_where_asked(self, tmp_path: Path) -> None:
        run = train("mlp/tiny", tmp_path / "run", images=96.0, settings={"weights": "32 images"})
        assert sorted(path.name for path in (run.path / "weights").iterdir()) == [
            "000000032.safetensors",
            "000000064.safetensors",
            "000000096.safetensors",
        ]
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
    def test_planted_images_are_found_in_bounded_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measure, seen = metrics.squared_distances, []
        monkeypatch.setattr(pictures, "NEIGHBOUR_BYTES", 4096 * 36 * 8)
        monkeypatch.setattr(
            metrics, "squared_distances", lambda a, b: seen.append(b.nbytes) or measure(a, b)
        )
        rng = torch.Generator().manual_seed(0)
        store = torch.randint(0, 256, (9000, 1, 6, 6), generator=rng, dtype=torch.uint8)
        wanted = torch.tensor([0, 4095, 4096, 5000, 8999])
        queries = (
            (store[wanted].int() + torch.randint(-3, 4, (5, 1, 6, 6), generator=rng))
            .clamp(0, 255)
            .to(torch.uint8)
        )
        found = pictures.nearest_images(queries.permute(0, 2, 3, 1), Dataset("planted", store))
        assert torch.equal(found, store[wanted].permute(0, 2, 3, 1))
        assert seen == [
            pictures.NEIGHBOUR_BYTES,
            pictures.NEIGHBOUR_BYTES,
            (9000 - 2 * 4096) * 36 * 8,
        ]

    def test_an_exact_copy_wins_over_one_that_differs_in_a_single_level(self) -> None:
        # distances by way of a matrix product lose such differences to rounding
        store = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
        store[:, 0, 0, 0] = torch.arange(192, 256)
        found = pictures.nearest_images(store[30:50].permute(0, 2, 3, 1), Dataset("close", store))
        assert found[:, 0, 0, 0].tolist() == list(range(222, 242))

    def test_neighbours_png_shows_pairs(self, tiny_run: Run) -> None:
        data = load_dataset("mnist-5k")
        fakes = tiny_run.sampler()(range(20), seed=7)
        nearest = pictures.nearest_images(fakes, data)
        distances = (
            (data.images.view(4000, -1).double() - fakes[4].reshape(1, -1).double()).square().sum(1)
        )
        assert torch.equal(nearest[4, ..., 0], data.images[distances.argmin(), 0])
        with Image.open(tiny_run.path / "neighbours.png") as image:
            sheet = np.asarray(image.convert("L"))
        pair = (
            np.concatenate([fakes[0, ..., 0].numpy(), nearest[0, ..., 0].numpy()], 1)
            .repeat(2, 0)
            .repeat(2, 1)
        )
        windows = np.lib.stride_tricks.sliding_window_view(sheet[:200, :200], pair.shape)
        assert (windows == pair).all((2, 3)).any()
