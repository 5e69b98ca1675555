"""Rules for what pictures suffer from, on made-up logs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ganvas.doctor.log_summary import RunInfo
from ganvas.doctor.monitor import Monitor, diagnose
from ganvas.doctor.picture_rules import ARTEFACTS, YOUNG_IMAGES
from ganvas.doctor.rules import RULES
from helpers.patients import made_up_log, run_info

WELL = {
    "grid_peak": 1.1, "real_grid_peak": 0.9, "border_step": -2.0, "real_border_step": 0.0,
    "detail_likeness": 0.006, "real_detail_likeness": 0.003,
    "border_step_usual": 6.0, "background": 40.0, "real_background": 50.0,
    "border_variation": 30.0, "real_border_variation": 40.0, "chroma": 30.0, "real_chroma": 40.0,
    "red_shift": 5.0, "green_shift": 3.0, "blue_shift": -2.0, "colour_spread": 15.0,
}  # fmt: skip

CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("checkerboards", {"grid_peak": 20.0}, {"grid_peak": 3.0}, ["20 times", "images: 0.9)"]),
    ("checkerboards", {"grid_peak": 20.0}, {"grid_peak": 20.0, "real_grid_peak": 12.0}, []),
    ("fixed pattern", {"detail_likeness": 0.04}, {"detail_likeness": 0.02},
     ["0.04 (", "image: 0.003)"]),
    ("fixed pattern", {"detail_likeness": 0.04},
     {"detail_likeness": 0.012, "real_detail_likeness": 0.0}, []),
    ("one background", {"background": 4.0}, {"background": 15.0}, ["4 levels", "image: 50)"]),
    ("border artefacts", {"border_variation": 2.0}, {"border_variation": 15.0},
     ["2 levels", "image: 40)"]),
    ("border artefacts", {"border_step": -40.0}, {"border_step": -40.0, "border_step_usual": 30.0},
     ["-40 levels", "images: 0)"]),
    ("border artefacts", {"border_step": -40.0}, {"border_step": -40.0, "real_border_step": -38.0},
     []),
    ("colour cast", {"green_shift": -30.0}, {"green_shift": -30.0, "colour_spread": 60.0},
     ["+5 of red, -30 of green, -2 of blue", "vary by 15)"]),
    ("colour cast", {"green_shift": -30.0},
     {"red_shift": -30.0, "green_shift": -30.0, "blue_shift": -28.0}, []),
    ("colour cast", {"green_shift": -8.0, "colour_spread": 1.0},
     {"green_shift": 0.0, "colour_spread": 1.0}, []),
    ("colour cast", {"chroma": 6.0}, {"chroma": 25.0}, ["6 levels", "images: 40)"]),
    ("colour cast", {"chroma": 6.0}, {"chroma": 0.5, "real_chroma": 3.0}, []),
]  # fmt: skip


def states(run: RunInfo, log: list[dict[str, float]]) -> list[str]:
    return [finding.state for finding in diagnose(run, log)]


@pytest.mark.parametrize(("state", "ill", "almost", "evidence"), CASES)
def test_a_state_is_named_with_both_figures_and_what_comes_near_it_is_not(
    state: str, ill: dict[str, Any], almost: dict[str, Any], evidence: list[str]
) -> None:
    run = run_info("r3gan/tiny")
    (finding,) = diagnose(run, made_up_log(**WELL | ill))
    assert finding.state == state
    assert all(part in finding.evidence for part in evidence), finding.evidence
    assert states(run, made_up_log(**WELL | almost)) == ["healthy"]


def test_a_log_of_an_earlier_version_is_not_judged_by_pictures() -> None:
    run = run_info("r3gan/tiny")
    assert states(run, made_up_log()) == ["healthy"]
    for name in WELL:
        for alone in (0.0, 1e3):
            assert states(run, made_up_log(**{name: alone})) == ["healthy"], name


def test_what_pictures_suffer_from_comes_after_what_a_training_suffers_from() -> None:
    assert list(RULES)[-len(ARTEFACTS) :] == list(ARTEFACTS)
    run = run_info("r3gan/tiny")
    log = made_up_log(**WELL | {"grid_peak": 20.0, "memorised": 0.9, "copying": 0.2})
    assert states(run, log) == ["memorising", "D overfits the training set", "checkerboards"]
    for ill in ({"diversity": 0.01}, {"g_gradient": 1e9}):
        found = states(run, made_up_log(**WELL | {"grid_peak": 20.0, "background": 1.0} | ill))
        assert not set(found) & ARTEFACTS.keys()


@pytest.mark.parametrize("images", [2_000, YOUNG_IMAGES - 1])
@pytest.mark.parametrize("stage", ["training", "finished"])
def test_a_young_run_is_too_early_to_tell(images: int, stage: Any) -> None:
    run = dataclasses.replace(run_info("r3gan/tiny"), stage=stage)
    log = made_up_log(images=lambda at: images * at, **WELL | {"grid_peak": 20.0})
    (finding,) = diagnose(run, log)
    assert finding.state == "too early to tell"
    assert f"after {images:,} images, samples still have checkerboards" in finding.evidence
    assert "20 times" in finding.evidence
    longer = f"--images {5 * run.card.plan.total}"
    assert (longer in finding.command) == (stage == "finished")
    healthy = made_up_log(images=lambda at: images * at, **WELL)
    assert states(run, healthy) == ["healthy"]


def test_a_small_part_of_a_long_training_is_early_too() -> None:
    run, long = run_info("r3gan/tiny"), run_info("r3gan/tiny")
    plan = dataclasses.replace(run.card.plan, images=200_000)
    long = dataclasses.replace(run, card=dataclasses.replace(run.card, plan=plan))
    log = made_up_log(**WELL | {"chroma": 2.0})
    assert states(run, log) == ["colour cast"]
    assert states(long, log) == ["too early to tell"]


def test_what_has_halved_may_pass_until_the_training_ends() -> None:
    run = run_info("r3gan/tiny")
    falling = WELL | {"grid_peak": lambda at: 60.0 if at <= 0.5 else 20.0}
    assert states(run, made_up_log(**falling)) == ["too early to tell"]
    slower = WELL | {"grid_peak": lambda at: 35.0 if at <= 0.5 else 20.0}
    assert states(run, made_up_log(**slower)) == ["checkerboards"]
    ended = made_up_log(images=lambda at: run.card.plan.total * at, **falling)
    assert states(run, ended) == ["checkerboards"]
    passed = WELL | {"grid_peak": lambda at: 60.0 if at <= 0.5 else 2.0}
    assert states(run, made_up_log(**passed)) == ["healthy"]


def test_a_training_reports_it_once_and_not_before_it_has_lasted() -> None:
    monitor = Monitor(run_info("r3gan/tiny"))
    reported = [
        (line["images"], finding.state)
        for line in made_up_log(**WELL | {"grid_peak": 20.0})
        for finding in monitor.see(line)
    ]
    # two checkups in a row, the first of them from YOUNG_IMAGES on
    assert reported == [(1600 * 8, "checkerboards")]
