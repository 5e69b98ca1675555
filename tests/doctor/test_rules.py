"""The doctor's rules on made-up logs, read at once or line by line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ganvas.doctor.log_summary import MAX_MEANS, History
from ganvas.doctor.monitor import Monitor, diagnose
from ganvas.doctor.rules import WARM
from ganvas.runs.card import StartedFrom
from helpers.patients import WELL, made_up_log, run_info


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
            ("exploding gradients", "wgan-gp/tiny", {"d_loss": -2e3},
             {"d_loss": -60.0, "g_loss": 3e3}),
            ("vanishing gradients", "mlp/tiny", {"g_gradient": 1e-6}, {"g_gradient": 1e-3}),
            ("vanishing gradients", "mlp/tiny", {"g_least_gradient": 1e-9},
             {"g_least_gradient": 1e-4}),
            ("memorising", "mlp/tiny", {"copying": 0.3}, {"copying": 0.9}),
            ("memorising", "mlp/tiny", {"copying": None, "nearest": lambda at: 0.1 + at / 10},
             {"copying": None, "nearest": lambda at: 0.6 - at / 10}),
            ("learning stalled", "mlp/tiny", {"nearest": 2.4},
             {"nearest": lambda at: 2.4 - 0.1 * at}),
            ("learning stalled", "mlp/tiny", {"nearest": None, "diversity": None, "lr": 1e-9},
             {"nearest": None, "diversity": None, "lr": 1e-6}),
            ("mode collapse", "mlp/tiny", {"diversity": 0.01}, {"diversity": 0.4}),
            ("mode collapse", "mlp/tiny", {"diversity": lambda at: 0.9 - 0.7 * (at > 0.5)},
             {"diversity": lambda at: 0.9 - 0.4 * (at > 0.5)}),
            ("mode collapse", "cgan/tiny", {"least_diversity": 0.05}, {"least_diversity": 0.2}),
            ("mode collapse", "mlp/tiny", {"class_kl": 1.3}, {"class_kl": 1.3, "diversity": 0.5}),
            ("mode collapse", "mlp/tiny", {"class_kl": 1.3},
             {"class_kl": 1.3, "nearest": lambda at: 2.4 - at / 2}),
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
            ("D overpowers G", "wgan-gp/tiny",
             {"d_separation": 1.0, "nearest": lambda at: 2.4 - at / 5},
             {"d_separation": 0.9, "nearest": lambda at: 2.4 - at / 5}),
            ("D overpowers G", "r3gan/tiny", {"d_loss": 0.08, "g_loss": 5.5},
             {"d_loss": 0.11, "g_loss": 3.5}),
        ],
    )  # fmt: skip
    def test_a_state_is_named_and_what_comes_near_it_is_not(
        self, state: str, recipe: str, changes: dict[str, Any], almost: dict[str, Any]
    ) -> None:
        run = run_info(recipe)
        assert states(run, made_up_log(**changes)) == [state]
        assert states(run, made_up_log(**almost)) == ["healthy"]

    def test_a_log_of_an_earlier_version_names_the_separation_otherwise(self) -> None:
        """`told` became `d_separation`."""
        run = run_info("wgan-gp/tiny")
        log = made_up_log(d_separation=None, told=1.0, nearest=lambda at: 2.4 - at / 5)
        history = History()
        for line in log:
            history.add(line)
        (finding,) = diagnose(run, history.means)
        assert finding.state == "D overpowers G"
        assert "100.0% of pairs" in finding.evidence

    def test_of_large_data_the_evidence_says_how_many_images_were_compared(
        self,
    ) -> None:
        large = run_info("mlp/tiny", images=60_000)
        (finding,) = diagnose(large, made_up_log(copying=0.3))
        assert finding.evidence.endswith("(2,048 of 60,000 training images compared)")
        (finding,) = diagnose(
            large,
            [
                *made_up_log(11, copying=0.8),
                made_up_log(copying=0.8)[-1] | {"nearest_of_all": 0.1, "copying_of_all": 0.1},
            ],
        )
        assert finding.state == "memorising"
        assert "samples are 0.1 times as far" in finding.evidence
        assert "compared" not in finding.evidence

    def test_few_images_are_too_few_once_they_have_been_seen_many_times(self) -> None:
        for images, epochs, expected in (
            (20, 50, "starving on tiny data"),
            (20, 5, "healthy"),
            (150, 50, "healthy"),
        ):
            run = run_info("mlp/tiny", images=images)
            assert states(run, made_up_log(epoch=lambda at, most=epochs: most * at)) == [expected]

    def test_a_state_that_has_passed_does_not_count(self) -> None:
        assert states(
            run_info("mlp/tiny"), made_up_log(g_loss=lambda at: 1e4 if at < 0.5 else 1.0)
        ) == ["healthy"]

    def test_the_finding_that_explains_the_others_comes_first(self) -> None:
        run = run_info("mlp/tiny", images=20)
        found = states(run, made_up_log(epoch=lambda at: 90 * at, copying=0.2, memorised=0.9))
        assert found == ["starving on tiny data", "memorising", "D overfits the training set"]
        assert states(run, made_up_log(epoch=lambda at: 90 * at, g_gradient=1e9, copying=0.2)) == [
            "exploding gradients"
        ]

    def test_a_log_of_the_losses_alone_is_judged_by_these(self) -> None:
        old = {
            name: None
            for name in WELL
            if name not in ("lr", "d_loss", "g_loss", "d_real", "d_fake", "d_accuracy")
        }
        assert states(run_info("mlp/tiny"), made_up_log(**old)) == ["healthy"]
        assert states(run_info("mlp/tiny"), made_up_log(**old, g_loss=1e4)) == [
            "exploding gradients"
        ]
        assert states(run_info("mlp/tiny"), []) == ["too early to tell"]

    def test_a_few_steps_are_not_healthy_yet(self) -> None:
        run = run_info("mlp/tiny")
        for step, expected in ((9, "too early to tell"), (10, "healthy")):
            assert states(run, [mean | {"step": step} for mean in made_up_log(1)]) == [expected]
        assert states(run, [mean | {"step": 9} for mean in made_up_log(1, g_loss=1e4)]) == [
            "exploding gradients"
        ]

    @pytest.mark.parametrize("diversity", [0.05, 0.11, 0.2, 0.28, 0.35])
    def test_nearly_equal_samples_are_early_or_collapsed_but_never_healthy(
        self, diversity: float
    ) -> None:
        """Plain GANs that do well in the end make samples as alike as this for some time."""
        run = run_info("mlp/tiny")
        expected = {
            100: ["too early to tell"] * 4,
            4000: ["too early to tell"] * 4,
            6000: ["mode collapse", *["too early to tell"] * 3],
            12_000: ["mode collapse"] * 4,
        }
        for step, of_each in expected.items():
            log = made_up_log(diversity=diversity, step=lambda at, last=step: last * at)
            state = ([*of_each, "healthy"])[[0.05, 0.11, 0.2, 0.28, 0.35].index(diversity)]
            assert states(run, log) == [state], step

    def test_low_diversity_says_how_long_it_may_last(self) -> None:
        (finding,) = diagnose(run_info("mlp/tiny"), made_up_log(diversity=0.108))
        assert finding.evidence.startswith(
            "samples are still nearly alike after 1,200 steps (plain GANs may stay so for some"
            " 10,000); two random samples are 0.108 times as far apart as two real images"
        )

    def test_a_training_from_trained_weights_may_stand_still(self) -> None:
        run = run_info("mlp/tiny")
        card = dataclasses.replace(run.card, started_from=StartedFrom(path="x", sha256=""))
        assert states(dataclasses.replace(run, card=card), made_up_log(nearest=1.1)) == ["healthy"]
        assert states(run, made_up_log(nearest=1.1)) == ["learning stalled"]


class TestHistory:
    def test_a_log_of_any_length_becomes_a_bounded_number_of_means(self) -> None:
        history = History()
        for k in range(10_000):
            history.add(
                {"images": k, "step": k, "epoch": k, "seconds": k, "d_loss": float(k), "note": "x"}
            )
        found = history.means
        assert MAX_MEANS / 2 <= len(found) <= MAX_MEANS
        width = found[0]["images"] + 1
        assert [mean["d_loss"] for mean in found[:3]] == [
            (width - 1) / 2 + k * width for k in range(3)
        ]
        assert (found[-1]["images"], found[-1].get("note")) == (9999, None)


class TestMonitor:
    def lines(self, ill: range, count: int = 12) -> Iterator[dict[str, float]]:
        for k, mean in enumerate(made_up_log(count)):
            yield mean | ({"g_loss": 1e5} if k in ill else {})

    def test_a_state_is_reported_once_when_two_checkups_show_it(self) -> None:
        monitor = Monitor(run_info("mlp/tiny"))
        reported = [
            (k, [each.state for each in monitor.see(line)])
            for k, line in enumerate(self.lines(range(4, 12)))
        ]
        assert [each for each in reported if each[1]] == [(5, ["exploding gradients"])]

    def test_one_checkup_is_not_enough(self) -> None:
        monitor = Monitor(run_info("mlp/tiny"))
        assert [monitor.see(line) for line in self.lines(range(1))] == [[]] * 12

    def test_exploding_gradients_are_reported_without_a_checkup(self) -> None:
        monitor = Monitor(run_info("mlp/tiny"))
        lines = [
            line | {"step": k * WARM / 4}
            for k, line in enumerate(made_up_log(12, diversity=None, g_loss=1e5))
        ]
        reported = [(k, [each.state for each in monitor.see(line)]) for k, line in enumerate(lines)]
        assert [each for each in reported if each[1]] == [(5, ["exploding gradients"])]

    def test_a_line_of_losses_alone_is_not_diagnosed(self) -> None:
        monitor = Monitor(run_info("mlp/tiny"))
        assert not any(
            monitor.see(line)
            for line in made_up_log(12, diversity=None, g_gradient=None, g_loss=1e5)
        )

    def test_lines_between_two_checkups_do_not_interrupt_them(self) -> None:
        monitor, collapsed = Monitor(run_info("mlp/tiny")), made_up_log(9, diversity=0.01)
        reported = []
        for k, line in enumerate(collapsed):
            if k not in (2, 6):
                del line["diversity"]
            reported += [(k, each.state) for each in monitor.see(line)]
        assert reported == [(6, "mode collapse")]

    @pytest.mark.parametrize("at", range(12))
    def test_a_resumed_monitor_reports_nothing_twice_and_forgets_nothing(self, at: int) -> None:
        lines = list(self.lines(range(4, 12)))
        whole, resumed = Monitor(run_info("mlp/tiny")), Monitor(run_info("mlp/tiny"))
        reported = [monitor.see(line) for monitor in (whole,) for line in lines]
        resumed.resume(lines[:at])
        assert [resumed.see(line) for line in lines[at:]] == reported[at:]
