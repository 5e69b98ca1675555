"""Settings of a recipe: changed by their paths, refused when impossible, changing over time."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from ganvas import gans
from ganvas.errors import SettingError
from ganvas.overrides import override, parse_assignments
from ganvas.recipe import (
    DIGIT_CLASSES,
    ImageSpec,
    Interval,
    Recipe,
    Schedule,
    TrainConfig,
    settings,
)
from ganvas.system.schema import convert, differences
from helpers.common import noise_images, refusal

pytestmark = pytest.mark.usefixtures("steady")


RELU, DCGAN = gans.find_recipe("mlp/relu")[2], gans.find_recipe("dcgan/64")[2]


def test_a_setting_is_changed_by_its_path_or_its_last_name_and_nothing_else_changes() -> None:
    for changes in ({"train.batch": 32}, {"batch": 32}, {"train": {"batch": 32}}):
        assert override(RELU, changes) == dataclasses.replace(
            RELU, train=dataclasses.replace(RELU.train, batch=32)
        )
    changed = override(
        RELU, {"z_dim": 7, "model.g_widths": [3, 4], "betas": [0.1, 0.2], "weights": "1 epoch"}
    )
    assert (changed.model.z_dim, changed.model.g_widths) == (7, (3, 4))
    assert (changed.train.betas, changed.train.weights) == ((0.1, 0.2), "1 epoch")
    assert (changed.native, changed.summary) == (RELU.native, RELU.summary)
    assert RELU.model.z_dim == 100


def test_a_schedules_parts_are_settings_too() -> None:
    assert override(DCGAN, {"train.lr.start": 1e-3}).train.lr == dataclasses.replace(
        DCGAN.train.lr, start=1e-3
    )  # type: ignore[type-var]
    assert override(DCGAN, {"lr.end": 0}).train.lr == dataclasses.replace(DCGAN.train.lr, end=0)  # type: ignore[type-var]
    assert override(DCGAN, {"lr": {"end": 0}}).train.lr == dataclasses.replace(
        DCGAN.train.lr, end=0
    )  # type: ignore[type-var]
    assert override(DCGAN, {"lr": 2e-4}).train.lr == 2e-4
    linear = {"train.lr.end": 0, "train.lr.shape": "linear"}
    assert override(RELU, linear).train.lr == Schedule(start=1e-4, end=0, shape="linear")
    # of a constant, by short name
    assert override(RELU, {"lr.shape": "linear", "lr.end": 0}) == override(RELU, linear)
    assert override(RELU, {"d_lr.start": 0.1}).train.d_lr == Schedule(start=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bach": 3}, "unknown setting bach: did you mean batch?"),
        ({"train.bach": 3}, "unknown setting train.bach: did you mean train.batch?"),
        ({"trian.batch": 3}, "unknown setting trian.batch: did you mean train.batch?"),
        ({"train": {"bach": 3}}, "unknown setting train.bach: did you mean train.batch?"),
        ({"train.lr.strat": 1}, "unknown setting train.lr.strat: did you mean train.lr.start?"),
        (
            {"train.lr": {"start": 1, "shap": "linear"}},
            "unknown setting train.lr.shap: did you mean train.lr.shape?",
        ),
        ({"lr.strat": 1}, "unknown setting train.lr.strat: did you mean train.lr.start?"),
        ({"lrr.shape": "linear"}, "unknown setting lrr: did you mean lr?"),
        ({"train.lrr.shape": "linear"}, "unknown setting train.lrr: did you mean train.lr?"),
        ({"qqq": 3}, "unknown setting qqq: choose one of: z_dim, "),
        ({"batch": "x"}, "train.batch: expected `int`, got `str`"),
        ({"batch": True}, "train.batch: expected `int`, got `bool`"),
        ({"batch": 1.5}, "train.batch: expected `int`, got `float`"),
        ({"batch": None}, "train.batch: expected `int`, got `null`"),
        ({"batch": 0}, "train.batch: expected `int` >= 1"),
        ({"batch": -1}, "train.batch: expected `int` >= 1"),
        ({"z_dim": 0}, "model.z_dim: expected `int` >= 1"),
        ({"g_widths": [16, "a"]}, "model.g_widths[1]: expected `int`, got `str`"),
        ({"lr": -1e-3}, "train.lr: expected `float` >= 0.0"),
        ({"lr": math.nan}, "train.lr=nan: expected a finite number"),
        ({"lr": math.inf}, "train.lr=inf: expected a finite number"),
        ({"train.lr.start": math.nan}, "train.lr.start=nan: expected a finite number"),
        ({"eps": 0}, "train.eps: expected `float` >= 1e-30"),
        ({"eps": math.inf}, "train.eps=inf: expected a finite number"),
        ({"betas": [0.9, 1.0]}, "train.betas[1]: expected `float` < 1.0"),
        ({"betas": [math.nan, 0.9]}, "train.betas[0]: expected"),
        ({"betas": [0.9]}, "train.betas: "),
        ({"g_slope": -math.inf}, "model.g_slope=-inf: expected a finite number"),
        ({"order": "sideways"}, "train.order: 'sideways' is none of d-first, g-first"),
        ({"precision": 16}, "train.precision: '16' is none of 32, fastest"),
        ({"precision": True}, "train.precision: expected `str`, got `bool`"),
        (
            {"train.lr.shape": "cosin"},
            "train.lr.shape: 'cosin' is none of constant, linear, cosine",
        ),
        ({"train.lr": {}}, "train.lr: object missing required field `start`"),
        ({"train": 3}, "train: expected `object`, got `int`"),
        ({"train.lr": {"start": 1, "warmup": 0.5, "hold": 0.5}}, "warmup 0.5 + hold 0.5 is 1"),
        ({"length": "soon"}, "'soon' is not a length"),
        ({"log": "1 minute"}, "train.log='1 minute': give steps, epochs or images"),
        ({"weights": "2 parsecs"}, "'2 parsecs' is not a length"),
        ({"sheet_name": "{nope}"}, "train.sheet_name='{nope}'"),
        ({"sheet_name": "../x"}, "train.sheet_name='../x': expected a file name"),
        ({"g_batch": 8}, "train.g_batch=8 with train.g_fakes='same'"),
        ({"summary": "mine"}, "unknown setting summary"),
    ],
    ids=str,
)
def test_an_impossible_setting_is_refused_in_one_line_that_names_it(
    changes: dict[str, Any], message: str
) -> None:
    assert message in refusal(override, RELU, changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """Settings of a user's GAN, one of which has the name of a training setting."""

    batch: int = 3
    own: float = 1.0


def test_a_name_that_two_settings_have_needs_its_whole_path() -> None:
    recipe = Recipe(model=Twin(), train=RELU.train, native=RELU.native)
    assert (
        refusal(override, recipe, {"batch": 5})
        == "setting batch could be model.batch or train.batch: write the whole path"
    )
    assert (
        refusal(override, recipe, {"batch.start": 5})
        == "setting batch.start could be model.batch.start or train.batch.start: write the whole"
        " path"
    )
    assert override(recipe, {"model.batch": 5}).model == Twin(batch=5)
    assert override(recipe, {"own": 2}).model == Twin(own=2.0)


def test_assignments_are_read_as_toml_and_else_as_words() -> None:
    given = [
        "train.batch=32",
        "lr=1e-3",
        "betas=[0.5, 0.9]",
        "batchnorm=true",
        "order=g-first",
        "log='2 steps'",
        "a=b=c",
    ]
    assert parse_assignments(given) == {
        "train.batch": 32,
        "lr": 1e-3,
        "betas": [0.5, 0.9],
        "batchnorm": True,
        "order": "g-first",
        "log": "2 steps",
        "a": "b=c",
    }
    quick = dataclasses.replace(RELU, train=dataclasses.replace(RELU.train, precision="fastest"))
    # a word, though it reads as a number
    assert override(quick, parse_assignments(["precision=32"])) == RELU
    for wrong in ("batch", "=3", " =3"):
        assert f"'{wrong}' is not a setting" in refusal(parse_assignments, [wrong])


def test_differences_are_named_by_path() -> None:
    changed = override(DCGAN, {"batch": 8, "lr": 1e-3})
    lines = differences(settings(changed), settings(DCGAN))
    assert "train.batch=8, not 64" in lines
    assert "train.lr=0.001, not None" in lines
    assert "train.lr.start=None, not 0.002" in lines
    assert not differences(settings(DCGAN), json.loads(json.dumps(settings(DCGAN))))


def test_another_shape_resets_the_parts_that_it_does_not_have() -> None:
    warm = override(
        DCGAN, {"lr": {"start": 1e-3, "end": 1e-4, "shape": "cosine", "warmup": 0.1, "hold": 0.2}}
    )
    constant = override(warm, {"lr.shape": "constant"}).train.lr
    assert constant == Schedule(start=1e-3, warmup=0.1, per=warm.train.lr.per)  # type: ignore[union-attr]
    inverse = override(warm, {"lr.decay": 1e-3, "lr.shape": "inverse"}).train.lr
    assert inverse == Schedule(start=1e-3, shape="inverse", decay=1e-3, per=warm.train.lr.per)  # type: ignore[union-attr]
    assert (
        override(
            override(warm, {"lr.shape": "constant"}), {"lr": {"shape": "linear", "end": 0.0}}
        ).train.lr.end
        == 0
    )  # type: ignore[union-attr]
    message = refusal(override, warm, {"lr.shape": "constant", "lr.end": 0.0})
    assert "end=0.0 does nothing" in message


# Values over time


def test_schedules_follow_their_closed_forms() -> None:
    assert Schedule(start=3).at(0.7, 99) == 3
    linear = Schedule(start=4, end=2, shape="linear")
    assert [linear.at(p, 0) for p in (0, 0.25, 1, 1.5)] == [4, 3.5, 2, 2]
    cosine = Schedule(start=4, end=2, shape="cosine")
    assert [cosine.at(p, 0) for p in (0, 1 / 3, 0.5, 1, 1.5)] == pytest.approx([4, 3.5, 3, 2, 2])
    inverse = Schedule(start=4, shape="inverse", decay=0.5)
    assert [inverse.at(0.9, n) for n in (0, 2, 6)] == [4, 2, 1]


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_schedule_climbs_quadratically_before_it_goes_on(shape: Any) -> None:
    falls = {"end": 1, "hold": 0.3} if shape != "constant" else {}
    schedule = Schedule(start=5, shape=shape, warmup=0.2, warmup_from=1, **falls)
    assert [schedule.at(p, 0) for p in (0, 0.1, 0.2)] == pytest.approx([1, 2, 5])
    if shape != "constant":
        assert schedule.at(0.45, 0) == pytest.approx(3)  # half way from 0.2 to 0.7
        assert [schedule.at(p, 0) for p in (0.7, 0.85, 1)] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    "parts",
    [
        {"end": 0.0},
        {"decay": 1e-3},
        {"hold": 0.1},
        {"warmup_from": 0.1},
        {"shape": "linear", "decay": 1e-3},
        {"shape": "inverse", "warmup": 0.1},
        {"shape": "inverse", "end": 1.0},
        {"shape": "inverse", "hold": 0.1},
    ],
)
def test_a_part_that_does_nothing_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="does nothing in a schedule of shape"):
        Schedule(start=1, **parts)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"g_fakes": "same", "d_fakes": "inference"}, "made in training mode"),
        ({"g_fakes": "same", "g_batch": 9}, "leave g_batch out"),
        ({"sheet_name": ""}, "sheet_name='': expected a file name"),
        ({"sheet_name": "a/b"}, "sheet_name='a/b': expected a file name"),
        ({"sheet_name": "{nope}"}, "use {images} and {epoch}"),
        ({"sheet_name": "{images:2000000000d}"}, "use {images} and {epoch}"),
        ({"sheet_name": "{images.real}"}, "use {images} and {epoch}"),
        ({"sheet_name": "{images:{epoch}}"}, "use {images} and {epoch}"),
        ({"sheet_name": "{images"}, "use {images} and {epoch}"),
        ({"log": "2 minutes"}, "train.log"),
        ({"average": "often"}, "train.average"),
    ],
)
def test_settings_that_cannot_go_together_are_refused_by_name(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        TrainConfig(**{"batch": 8, "length": "1 epoch", "lr": 1e-3} | fields)


@pytest.mark.parametrize(
    "name",
    ["{images:09d}", "fake_images-{epoch}", "{epoch:3}-{images:d}", "{{plain}}", "{{{images}}}"],
)
def test_a_sheets_name_may_contain_images_and_epoch(name: str) -> None:
    assert name.format(images=1, epoch=1)
    assert TrainConfig(batch=8, length="1 epoch", lr=1e-3, sheet_name=name).sheet_name == name


def test_without_a_penalty_the_settings_that_serve_it_alone_are_reset() -> None:
    recipe = gans.find_recipe("r3gan/tiny")[2]
    assert (recipe.train.gamma, recipe.train.penalty_every) == (2.4, 2)
    stored = settings(recipe)  # as a card has it, before --set penalty=none
    for changes in (
        {"penalty": "none"},
        {"train": {"penalty": "none"}},
        {**stored, "penalty": "none"},
    ):
        train = override(override(recipe, {"gamma_factor": 0.5}), changes).train
        assert (train.penalty, train.gamma, train.gamma_factor, train.penalty_every) == (
            "none",
            None,
            1,
            1,
        )
    for changes in (
        {"penalty_every": 2, "penalty": "none"},
        {"penalty": "none", "penalty_every": 2},
    ):
        assert "train.penalty_every=2 does nothing without a penalty" in refusal(
            override, recipe, changes
        )
    assert "train.gamma_factor=2.0 does nothing without a penalty" in refusal(
        override, RELU, {"gamma_factor": 2}
    )
    assert "gamma=3" in refusal(override, recipe, {"train": {"penalty": "none", "gamma": 3}})


def test_a_schedule_without_room_for_itself_is_refused() -> None:
    for warmup, hold in ((0.5, 0.5), (1.0, 0.0), (0.0, 1.0)):
        with pytest.raises(SettingError, match="stay below 1"):
            Schedule(start=1, warmup=warmup, hold=hold)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("50 steps", 50, "steps"), ("1 step", 1, "steps"), ("1 epoch", 1, "epochs"),
        ("0.5 epochs", 0.5, "epochs"), ("20k images", 20_000, "images"),
        ("1.5M images", 1_500_000, "images"), ("60_000 images", 60_000, "images"),
        ("1,000 steps", 1000, "steps"), ("5 minutes", 5, "minutes"), ("  7steps ", 7, "steps"),
    ],
)  # fmt: skip
def test_intervals_are_read(text: str, amount: float, unit: str) -> None:
    assert Interval.parse(text) == Interval(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "5", "steps", "0 steps", "0.0 epochs", "-1 steps", "nan steps", "inf steps",
     "1e-308 images", "5 parsecs", "5 5 steps", "0x5 steps",
     "9" * 400 + " steps", "5 stepss", "5 K steps", "٣ steps"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    assert "is not a length" in refusal(Interval.parse, text)


@pytest.mark.parametrize("amount", [1, 2, 0.5, 12.25, 1 / 3, 1234567, 3_000_000, 123_456_789.5])
@pytest.mark.parametrize("unit", ["steps", "epochs", "images", "minutes"])
def test_an_interval_is_written_as_it_is_read(amount: float, unit: Any) -> None:
    interval = Interval(amount, unit)
    assert Interval.parse(str(interval)) == interval


def test_an_interval_in_images() -> None:
    assert Interval.parse("10 steps").images(16, 1000) == 160
    assert Interval.parse("1.5 epochs").images(16, 1000) == 1500
    assert Interval.parse("70 images").images(16, 1000) == 70


def test_an_image_spec_prints_its_shape_and_refuses_other_channels() -> None:
    assert (
        str(ImageSpec(height=28, width=20, channels=1, classes=DIGIT_CLASSES))
        == "28x20 grey, 10 classes"
    )
    assert ImageSpec.of(noise_images(DCGAN.native, 2)) == DCGAN.native
    plain = {"height": 8, "width": 8, "channels": 2, "classes": ()}
    assert "channels" in refusal(convert, plain, ImageSpec, "image")
    assert "height" in refusal(convert, plain | {"height": 0, "channels": 1}, ImageSpec, "image")
