"""The same request gives the same bits, in one go or in pieces."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas import gans
from ganvas.errors import RunError
from ganvas.launch import launch
from ganvas.runs.run import Run
from ganvas.training import augment, logger, loop
from ganvas.training.loop import Clock
from helpers.common import assert_same_run, state, train


class TestSameBits:
    @pytest.mark.parametrize("recipe", [f"{name}/tiny" for name in gans.gan_names()])
    def test_stopping_twice_changes_nothing(
        self, recipe: str, tmp_path: Path, stop_after: Callable[[int], None]
    ) -> None:
        options: dict[str, Any] = {
            "images": 128.0,
            "seed": 3,
            "settings": {"log": "3 steps", "weights": "48 images"},
        }
        whole = train(recipe, tmp_path / "whole", **options)
        for steps in (3, 2):
            stop_after(steps)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, tmp_path / "pieces", **options)
        assert state(tmp_path / "pieces")["images_seen"] == 5 * whole.card.plan.batch
        torch.manual_seed(1)  # the state of the global generator must not matter
        pieces = train(recipe, tmp_path / "pieces", **options)
        assert_same_run(whole.path, pieces.path)

    def test_stopping_changes_nothing_where_augmentation_adapts_itself(
        self, tmp_path: Path, stop_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A small set of coloured pictures, some held out; penalties in every third step, where no
        stop is."""
        rng = np.random.default_rng(0)
        for k in range(120):
            folder = tmp_path / "pictures" / "ab"[k % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{k}.png")
        share = augment.memorised_share
        monkeypatch.setattr(augment, "ADAPT_STEPS", 2)
        # or it takes long
        monkeypatch.setattr(
            augment, "memorised_share", lambda known, held: share(known, held) + 0.55
        )
        options: dict[str, Any] = {
            "images": 128.0,
            "data": str(tmp_path / "pictures"),
            "settings": {"penalty_every": 3, "log": "3 steps"},
        }
        whole = train("r3gan/tiny", tmp_path / "whole", **options)
        probabilities = []
        for steps in (4, 3):
            stop_after(steps)
            with pytest.raises(KeyboardInterrupt):
                train("r3gan/tiny", tmp_path / "pieces", **options)
            probabilities.append(state(tmp_path / "pieces")["learner"]["augmentation"]["p"])
        assert min(probabilities) > 0
        assert_same_run(whole.path, train("r3gan/tiny", tmp_path / "pieces", **options).path)

    def test_a_crashed_training_resumes_from_the_last_save(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Callable[[int], None]
    ) -> None:
        """Logs and pictures made after the last save are made again, to the bit."""
        options: dict[str, Any] = {"images": 320.0, "seed": 3, "settings": {"sheet": "32 images"}}
        whole = train("cgan/tiny", tmp_path / "whole", **options)
        stop_after(5)
        with pytest.raises(KeyboardInterrupt):
            train("cgan/tiny", tmp_path / "run", **options)
        with monkeypatch.context() as patch:
            step = loop.take_step
            patch.setattr(
                loop, "take_step", lambda a, b, seen: step(a, b, seen) if seen < 240 else 1 / 0
            )
            patch.setattr(logger, "FLUSH_SECONDS", 0)
            with pytest.raises(ZeroDivisionError):
                train("cgan/tiny", tmp_path / "run", **options)
        assert Run.open(tmp_path / "run").read_log()[-1]["images"] == 224
        with open(tmp_path / "run" / "log.jsonl", "a") as file:
            file.write('{"images": 256, "d_lo')  # cut short
        assert_same_run(whole.path, train("cgan/tiny", tmp_path / "run", **options).path)

    def test_same_request_same_bits(self, tiny_run: Run, tmp_path: Path) -> None:
        torch.manual_seed(99)
        assert_same_run(
            tiny_run.path, train("cgan/tiny", tmp_path / "again", images=320.0, seed=7).path
        )

    def test_another_seed_gives_other_weights_data_order_and_latents(
        self, tiny_run: Run, tmp_path: Path
    ) -> None:
        other = train("cgan/tiny", tmp_path / "other", images=320.0, seed=8)
        one, two = (
            state(tiny_run.path)["learner"]["generator"],
            state(other.path)["learner"]["generator"],
        )
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
        """A training by the clock leaves such a card; learning rates follow the revised plan."""
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

    def test_a_run_that_was_revised_on_the_way_is_repeated_to_the_bit(
        self, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The revision makes the plan longer than two epochs: per-epoch schedules then begin."""
        settings = {"batch": 4, "lr.start": 1e-3, "lr.shape": "linear", "lr.per": "epoch"}
        with monkeypatch.context() as patch:
            patch.setattr(Clock, "revised", lambda _, plan, seen: 48 if seen == 8 else None)
            one = train(
                "mlp/tiny", tmp_path / "one", data=str(pictures), images=20.0, settings=settings
            )
        assert Run.open(one.path).card.plan.revisions == ((8, 48),)
        two = launch.train(config=one.path / "recipe.json", out=tmp_path / "two", quiet=True)
        assert_same_run(one.path, two.path)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("images_seen", 150, "images_seen: 150, expected a multiple of 16 up to 320"),
        ("seconds", -1.0, "seconds: -1.0, expected 0 or more"),
        ("record", None, "'record' is missing"),
        ("learner.scaler", "x", "learner.scaler: expected a dictionary"),
        ("learner.g_optimizer", {}, "learner.g_optimizer: 'steps' is missing"),
        ("learner.discriminator", {}, r"learner.discriminator: Error\(s\) in loading state_dict"),
        (
            "learner.generator.layers.0.bias",
            torch.full((16,), math.nan),
            "learner: weights that are NaN",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_its_field(
    field: str, value: Any, reason: str, half_run: Run, copy: Callable[[Run], Path]
) -> None:
    run = Run.open(copy(half_run))
    changed = state(run.path)
    *parents, name = field.split(".", 2)
    tree = changed
    for parent in parents:
        tree = tree[parent]
    if value is None:
        del tree[name]
    else:
        tree[name] = value
    run.save_state(changed)
    with pytest.raises(RunError, match=rf"state\.pt that does not fit \({reason}.*use --fresh"):
        launch.train(out=run.path, quiet=True)
