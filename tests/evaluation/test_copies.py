"""The copy check finds generators that return training images, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas.data.dataset import Dataset
from ganvas.evaluation import copies
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.inputs import Generated
from ganvas.runs.run import Run
from helpers.common import train
from helpers.judged import Pooled, digits, npz

pytestmark = pytest.mark.usefixtures("steady", "cache")

NUMBER = 150


@pytest.fixture(scope="module", autouse=True)
def few() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "PROBES", NUMBER)
        yield


def some(split: Any = "train") -> Tensor:
    """Images of all classes."""
    return digits(split).images[:NUMBER]


def noisy(images: Tensor, amount: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * amount
    return (images.float() + noise).round().clamp(0, 255).to(torch.uint8)


def check(fakes: Tensor) -> copies.CopyCheck:
    return copies.check_copies(fakes, digits().images, digits("test").images)


class TestVerdict:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda images: images,
            lambda images: noisy(images, 10),
            lambda images: noisy(images, 25),
            lambda images: torch.roll(images, (1, -1), (2, 3)),
            lambda images: noisy(torch.roll(images, 1, 3), 15),
            lambda images: torch.cat(
                [images[: NUMBER // 5], digits("test").images[NUMBER // 5 : NUMBER]]
            ),
        ],
        ids=["exactly", "little noise", "noise", "moved", "moved and noise", "a fifth of them"],
    )
    def test_training_images(self, spoil: Callable[[Tensor], Tensor]) -> None:
        result = check(spoil(some())).copies
        assert result.verdict == "copier"
        assert result.share is not None
        assert result.share_held_out is not None
        assert result.share - result.share_held_out > copies.COPIER_SHARE

    @pytest.mark.parametrize(
        ("spoil", "identical"),
        [(lambda images: images, 16), (lambda images: noisy(images, 10), 0)],
        ids=["exactly", "little noise"],
    )
    def test_a_few_copies_among_many_are_the_closest_pairs(
        self, spoil: Callable[[Tensor], Tensor], identical: int
    ) -> None:
        """They make no copier, and most of them are not among the images that get a ratio."""
        training, unseen, rows = (
            digits().images[:3000],
            digits().images[3000:],
            torch.arange(16) * 7,
        )
        result = copies.check_copies(
            torch.cat([unseen, spoil(training[rows])]), training, digits("test").images
        )
        assert (result.copies.verdict, result.copies.n_fake) == ("not a copier", NUMBER)
        assert torch.equal(result.training, rows[result.fakes - len(unseen)])
        assert result.copies.identical == identical
        note = "copy check: 16 of the 1,016 generated images are training images, to the pixel"
        assert (note in result.notes) == (identical == 16)

    def test_held_out_images(self) -> None:
        result = copies.check_copies(
            some("test"), digits().images, digits("test").images[NUMBER:]
        ).copies
        assert result.verdict == "not a copier"
        assert result.ratio == pytest.approx(1, abs=0.08)
        assert result.spread is not None
        assert abs(result.ratio - 1) < 4 * result.spread < 0.2
        # even those that it is asked beside
        assert check(some("test")).copies.verdict == "not a copier"

    @pytest.mark.parametrize("kind", ["tiny", "noise", "black"])
    def test_what_a_bad_generator_makes(self, kind: str, tiny_run: Run) -> None:
        made = {
            "tiny": tiny_run.sampler()(range(NUMBER)).permute(0, 3, 1, 2).contiguous(),
            "noise": torch.randint(0, 256, (NUMBER, 1, 28, 28), dtype=torch.uint8),
            "black": torch.zeros(NUMBER, 1, 28, 28, dtype=torch.uint8),
        }
        result = check(made[kind]).copies
        assert result.verdict == "not a copier"
        assert result.ratio == pytest.approx(1, abs=0.25)

    def test_the_sizes_of_the_sets_do_not_count(self) -> None:
        """The nearest of forty times as many training images is nearer, for held-out images too."""
        held_out = digits("test").images
        fakes, few_held_out = held_out[:NUMBER], held_out[NUMBER : NUMBER + 100]
        result = copies.check_copies(fakes, digits().images, few_held_out).copies
        assert result.nearest_held_out is not None
        assert result.nearest_training < 0.8 * result.nearest_held_out
        assert result.ratio == pytest.approx(1, abs=0.1)
        assert result.verdict == "not a copier"
        assert copies.check_copies(some(), digits().images, few_held_out).copies.verdict == "copier"

    def test_large_colour_pictures(self) -> None:
        """Copies of 96x80 pictures moved by a pixel, which are compared at a third of the size."""
        rng = np.random.default_rng(0)

        def scenes(number: int) -> Tensor:
            rough = rng.integers(0, 256, (number, 6, 5, 3), np.uint8)
            large = [
                np.asarray(Image.fromarray(one).resize((80, 96), Image.Resampling.BICUBIC))
                for one in rough
            ]
            return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)

        training, held_out, others = scenes(60), scenes(60), scenes(40)
        assert copies.reduced(training).shape == (60, 3, 32, 27)
        assert (
            copies.check_copies(torch.roll(training[:40], 1, 3), training, held_out).copies.verdict
            == "copier"
        )
        assert copies.check_copies(others, training, held_out).copies.verdict == "not a copier"

    @pytest.mark.parametrize(
        ("made", "verdict"),
        [
            (lambda: some(), "copier"),
            (lambda: noisy(torch.roll(some(), 1, 3), 15), "copier"),
            (lambda: torch.cat([some()[: NUMBER // 5], some("test")[NUMBER // 5 :]]), "copier"),
            (lambda: some("test"), "not a copier"),
            (lambda: avg_pool2d(some("test").float(), 3, 1, 1).to(torch.uint8), "not a copier"),
            (lambda: torch.zeros(NUMBER, 1, 28, 28, dtype=torch.uint8), "not a copier"),
        ],
        ids=[
            "exactly",
            "moved and noise",
            "a fifth of them",
            "held-out images",
            "blurred",
            "black",
        ],
    )
    def test_without_held_out_images_training_images_are_the_yardstick(
        self, made: Callable[[], Tensor], verdict: str
    ) -> None:
        result = copies.check_copies(made(), digits().images, None)
        assert (result.copies.verdict, result.copies.yardstick) == (verdict, "training")
        assert (
            "nothing held out, so the yardstick is how near training images are to one another"
            in result.notes[0]
        )
        assert result.copies.nearest_held_out is None

    def test_training_images_that_are_there_twice_are_no_yardstick(self) -> None:
        result = copies.check_copies(some(), some().repeat(2, 1, 1, 1), None)
        assert (result.copies.verdict, result.copies.share) == ("cannot tell", None)
        assert "occur more than once, so no distance counts as too near" in result.notes[1]

    def test_hardly_any_training_images_tell_nothing(self) -> None:
        result = copies.check_copies(some(), digits().images[:3], None)
        assert (result.copies.verdict, result.copies.ratio, result.copies.share) == (
            "cannot tell",
            None,
            None,
        )
        assert "3 training images are too few" in result.notes[-2]
        assert len(result.fakes) == copies.PAIRS

    def test_mirrored_copies_count_where_training_saw_images_mirrored(self) -> None:
        exactly = some()[:20].flip(3)
        assert [
            copies.check_copies(exactly, some(), None, flip=flip).copies.identical
            for flip in (False, True)
        ] == [0, 20]
        training, mirrored = digits().images[:2000], noisy(some().flip(3), 5)
        for held_out in (digits("test").images, None):
            plain, flipped = (
                copies.check_copies(mirrored, training, held_out, flip=flip)
                for flip in (False, True)
            )
            assert (plain.copies.verdict, flipped.copies.verdict) == ("not a copier", "copier")
            assert bool(flipped.mirrored.all())
            assert not bool(plain.mirrored.any())
            assert torch.equal(flipped.fakes, flipped.training)
            assert "18 alignments, mirrored" in flipped.copies.space
            others = copies.check_copies(some("test"), training, held_out, flip=True)
            assert others.copies.verdict == "not a copier"

    def test_held_out_images_that_are_training_images_too(self) -> None:
        training = digits().images[:300]
        result = copies.check_copies(some("test"), training, training[:100])
        assert result.copies.verdict == "cannot tell"
        assert "themselves among the training images" in result.notes[0]

    def test_few_held_out_images_get_a_note_and_hardly_any_tell_nothing(self) -> None:
        held_out = digits("test").images
        assert (
            "only 20 held-out images"
            in copies.check_copies(some(), digits().images, held_out[:20]).notes[0]
        )
        result = copies.check_copies(some(), digits().images, held_out[:2])
        assert result.copies.yardstick == "training"
        assert "only 2 held out" in result.notes[0]


class TestNearest:
    def test_as_found_one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = torch.Generator().manual_seed(0)
        probes, others = (
            torch.randint(0, 256, (n, 3, 7, 9), dtype=torch.uint8, generator=rng) for n in (5, 23)
        )
        monkeypatch.setattr(copies, "COPIES_CHUNK", 10)
        distance, which, _ = copies.nearest_training(probes, others)
        for probe, result, index in zip(probes, distance, which, strict=True):
            middle = others[:, :, 1:-1, 1:-1].double() / 255
            each = [
                (probe[:, y : y + 5, x : x + 7].double() / 255 - middle).flatten(1).norm(dim=1)
                for y in range(3)
                for x in range(3)
            ]
            least = torch.stack(each).min(0).values
            assert index == least.argmin()
            assert float(result) == pytest.approx(float(least.min()))

    def test_a_probe_is_not_its_own_neighbour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copies, "COPIES_CHUNK", 16)
        images, own = some()[:40], torch.tensor([3, 20, 39])
        distance, which, _ = copies.nearest_training(images[own], images, without=own[:, None])
        assert bool((distance > 1).all())
        assert bool((which != own).all())
        beyond, third, _ = copies.nearest_training(
            images[own], images, without=torch.stack([which, own], 1)
        )
        assert bool((beyond >= distance).all())
        assert bool((third != which).all() and (third != own).all())

    def test_memory_does_not_grow_with_the_size_of_pictures(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (9, 3, 70, 50), dtype=torch.uint8, generator=rng)
        whole, parts = copies.reduced(images), []
        pool = copies.avg_pool2d
        monkeypatch.setattr(
            copies, "avg_pool2d", lambda x, *a, **k: parts.append(x.nbytes) or pool(x, *a, **k)
        )
        monkeypatch.setattr(copies, "COPIES_BYTES", 3 * 3 * 70 * 50 * 4)
        assert torch.equal(copies.reduced(images), whole)
        assert parts == [copies.COPIES_BYTES] * 3

    def test_images_without_a_middle(self) -> None:
        images = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 1, 2, 2)
        assert copies.nearest_training(images[2:4], images).which.tolist() == [2, 3]


class TestCommand:
    @pytest.fixture(autouse=True)
    def cheap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "ganvas.evaluation.extractors.find_extractor", lambda *_, **__: Pooled().extractor()
        )

    def test_a_runs_closest_pairs_lie_with_it(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(tiny_run)
        done = cli_run("evaluate", path, "--n", 60, "--copies", "--json")
        result = json.loads(done.out)["copies"]
        assert result["verdict"] == "not a copier"
        assert (result["n_training"], result["n_held_out"], result["n_fake"]) == (4000, 1000, 60)
        assert result["sheet"] == str(path / "copies.png")
        with Image.open(path / "copies.png") as sheet:
            assert sheet.width > 4 * 2 * 28 * 2
            assert sheet.height > 4 * 28 * 2
        text = cli_run("evaluate", path, "--n", 60, "--copies").out
        assert "copy check: not a copier, ratio 1" in text
        assert "; of 60 generated images 0.0% count as copies, of held-out images 0.0%" in text

    def test_anybodys_copies(self, cli_run: Callable[..., Any], tmp_path: Path) -> None:
        npz(tmp_path / "made.npz", digits().images[100:200])
        options = ("--data", "mnist-5k", "--copies", "--out", "pairs/sheet.png", "--json")
        done = cli_run("evaluate", "made.npz", *options)
        assert json.loads(done.out)["copies"]["verdict"] == "copier"
        assert (tmp_path / "pairs" / "sheet.png").is_file()

    def test_a_disk_that_refuses_the_sheet_loses_no_work(
        self, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        npz(tmp_path / "made.npz", digits().images[100:200])
        (tmp_path / "file").write_text("")
        done = cli_run(
            "evaluate", "made.npz", "--data", "mnist-5k", "--copies", "--out", "file/sheet.png"
        )
        assert "copy check: copier" in done.out
        assert "note: no sheet of the closest pairs: cannot write" in done.out

    def test_the_sheet_of_a_run_that_saw_images_mirrored_shows_them_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = npz(tmp_path / "some.npz", digits().images[:300])
        run = train("mlp/tiny", tmp_path / "run", data=data, images=32.0, flip=True)
        mirrored = Dataset("made", some().flip(3))
        monkeypatch.setattr(Generated, "take", lambda *_, **__: mirrored)
        pairs: list[Any] = []
        monkeypatch.setattr(
            copies.sheets,
            "save_pairs",
            lambda path, left, right, caption: pairs.extend((left, right)),
        )
        evaluation = evaluate(run, n=NUMBER, copies=True, quiet=True)
        assert evaluation.copies is not None
        assert evaluation.copies.verdict == "copier"
        np.testing.assert_array_equal(*pairs)

    def test_the_sheets_pairs_are_the_closest_ones(self, tmp_path: Path) -> None:
        """Sixteen copies among other images are result, nearest first, each beside its original."""
        rows = torch.arange(16) * 7
        mixed = torch.cat([digits("test").images[:50], digits().images[rows]])
        made = Dataset(
            "made", mixed[torch.randperm(66, generator=torch.Generator().manual_seed(1))]
        )
        result = check(made.images)
        assert torch.equal(made.images[result.fakes], digits().images[result.training])
        evaluation = evaluate(
            made, data="mnist-5k", copies=True, out=tmp_path / "sheet.png", quiet=True
        )
        assert evaluation.copies is not None
        assert evaluation.copies.nearest_training > 1
        assert (tmp_path / "sheet.png").is_file()
