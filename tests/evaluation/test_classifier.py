"""The classifier: training, prediction, distortions."""

from __future__ import annotations

import pytest
import torch

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.data.pixels import to_float
from ganvas.errors import DataError
from ganvas.evaluation import classifier

pytestmark = pytest.mark.usefixtures("steady")


def shapes(count: int, seed: int) -> Dataset:
    """Bars, lying and standing, and squares, in noise: three classes, learned in a few steps."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 1, 12, 12), generator=rng, dtype=torch.uint8)
    for k in range(count):
        row, column = torch.randint(2, 7, (2,), generator=rng).tolist()
        height, width = ((2, 8), (8, 2), (4, 4))[k % 3]
        images[k, 0, row : row + height, column : column + width] = 230
    return Dataset("shapes", images, torch.arange(count) % 3, ("lying", "standing", "square"))


@pytest.fixture(scope="module")
def trained() -> classifier.Classifier:
    torch.set_num_threads(1)
    return classifier.train_classifier(shapes(600, seed=1), epochs=8, seed=4)


def test_it_learns_to_tell_classes_apart(trained: classifier.Classifier) -> None:
    assert classifier.accuracy(trained, shapes(300, seed=2)) > 0.95


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(
    trained: classifier.Classifier,
) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    again = classifier.train_classifier(shapes(600, seed=1), epochs=8, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    other = classifier.train_classifier(shapes(600, seed=1), epochs=1, seed=5)
    assert not torch.equal(other.last.weight, trained.last.weight)


def test_predictions_do_not_depend_on_other_images(
    trained: classifier.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = shapes(30, seed=3).images
    features, probabilities = trained.train().predict(images)  # whatever mode it was in
    assert features.shape == (30, 128)
    assert torch.allclose(probabilities.sum(1), torch.ones(30))
    monkeypatch.setattr(classifier, "CLASSIFIER_CHUNK", 7)
    again, _ = trained.predict(images)
    assert torch.allclose(again, features, atol=1e-5)
    assert torch.allclose(trained.predict(images[4:5])[0][0], features[4], atol=1e-5)


def test_distortions_are_small_each_images_own_and_keep_the_range() -> None:
    images = to_float(data.load_dataset("mnist-5k").images[::40][:50])
    distorted = classifier._distorted(images, seed=0, step=3)
    assert torch.equal(distorted, classifier._distorted(images, seed=0, step=3))
    assert not torch.equal(distorted, classifier._distorted(images, seed=0, step=4))
    assert distorted.min() >= -1
    assert distorted.max() <= 1
    same = torch.equal(*classifier._distorted(images[:1].repeat(2, 1, 1, 1), seed=0, step=3))
    assert not same
    # The ink moves by a few pixels at the most, and stays about as much.
    ink, moved = ((x[:, 0] + 1) / 2 for x in (images, distorted))
    places = torch.stack(torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij"))
    centres, others = (
        (x[:, None] * places).sum((2, 3)) / x.sum((1, 2))[:, None] for x in (ink, moved)
    )
    distances = (centres - others).norm(dim=1)
    assert 0.5 < distances.mean() < 3
    assert distances.max() < 6
    assert ((moved.sum((1, 2)) / ink.sum((1, 2))).log2().abs() < 0.6).all()


def test_each_epoch_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    epochs: list[tuple[int, float]] = []
    classifier.train_classifier(
        shapes(200, seed=1), epochs=3, tell=lambda epoch, loss: epochs.append((epoch, loss))
    )
    assert [epoch for epoch, _ in epochs] == [1, 2, 3]
    assert epochs[-1][1] < epochs[0][1]


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_a_set_without_classes_is_refused(classes: tuple[str, ...]) -> None:
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    labels = torch.zeros(4, dtype=torch.int64) if classes else None
    with pytest.raises(DataError, match="plain has no classes to tell apart"):
        classifier.train_classifier(Dataset("plain", images, labels, classes))
