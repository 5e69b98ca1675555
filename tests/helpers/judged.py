"""What tests of judging share: images to judge, and features that cost nothing."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ganvas import data
from ganvas.data.dataset import Dataset
from ganvas.evaluation import evaluate
from ganvas.evaluation.extractors import Extractor, Features
from ganvas.evaluation.result import EvaluationResult, Protocol, Scores


class Pooled:
    """Features that cost nothing: 16 means. Notes the number of images of each call."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, images: Tensor) -> Features:
        self.seen.append(len(images))
        return Features(avg_pool2d(images.float(), images.shape[3] // 4).flatten(1) / 255, None)

    def extractor(self, sha256: str = "0" * 64) -> Extractor:
        return Extractor("pooled", sha256, (), None, "none", (), self)


@lru_cache(2)
def digits(split: Literal["train", "test"] = "train") -> Dataset:
    return data.load_dataset("mnist-5k", split=split)


def npz(path: Path, images: Tensor, labels: Tensor | None = None, **more: Any) -> Path:
    arrays = {"images": images.permute(0, 2, 3, 1).numpy()} | (
        {} if labels is None else {"labels": labels.numpy()}
    )
    np.savez(path, **arrays, **more)
    return path


def judge(images: Tensor, labels: Tensor | None = None, **options: Any) -> EvaluationResult:
    """Images beside the digits that are held out of mnist-5k."""
    made = Dataset("made", images, labels, () if labels is None else tuple("0123456789"))
    return evaluate.evaluate(made, **({"data": "mnist-5k", "quiet": True, "prdc_n": 500} | options))


def verdict(fid: float | None, notes: tuple[str, ...] = ()) -> EvaluationResult:
    """What a judge might say, by a protocol of no meaning."""
    protocol = Protocol(
        extractor="made",
        extractor_sha256="",
        n_real=9,
        n_fake=9,
        n_prdc=9,
        k=5,
        split="test",
        resize="none",
        data="made",
        real_sha256="",
        seed=0,
    )
    return EvaluationResult(
        fid=fid, source="x", kind="run", floor=Scores(), protocol=protocol, notes=notes
    )
