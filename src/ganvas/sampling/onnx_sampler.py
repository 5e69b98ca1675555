"""OnnxSampler: images from an exported generator, by onnxruntime and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganvas.errors import MissingExtraError, RunError
from ganvas.sampling.latents import latents
from ganvas.sampling.model_card import ModelCard
from ganvas.system import files

CARD_KEY = "ganvas"  # of the model card in a file's metadata
LATENT, LABEL, IMAGES = "latent", "label", "images"  # names of a graph's inputs and its output
BATCH = 64  # images at once
SILENT = 4  # onnxruntime's level of messages: none, as its errors become ours
# Types of the inputs and the output, as onnxruntime names them.
TYPES = {LATENT: "tensor(float)", LABEL: "tensor(int64)", IMAGES: "tensor(uint8)"}


class OnnxSampler:
    """A generator of `ganvas export --to onnx`, as a function from indices to images.

    Only the graph in the file itself is run: it may name no other file, and no operator that
    onnxruntime does not come with.

    path: an .onnx file.
    Raises RunError for a file that is missing, damaged, or not one of ganvas's; MissingExtraError
    without onnxruntime.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.exists():
            raise RunError(f"no file {path}: give an .onnx of ganvas export")
        with files.reading(path):
            content = path.read_bytes()
        self.session = _session(content, path)
        metadata = self.session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise RunError(f"{path} holds no ganvas card: give an .onnx of ganvas export")
        self.card = ModelCard.from_json(metadata[CARD_KEY], str(path))
        self.classes = self.card.classes
        self.z_dim, self.draw = self.card.z_dim, self.card.latent_draw
        self._refuse_other_shapes(path)

    def __call__(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        strict: bool = False,
    ) -> NDArray[np.uint8]:
        """Images uint8 (N, H, W, C), one for each index of `seed`.

        labels: a class index for each image of a conditional generator. Default: index modulo the
            number of classes.
        strict: has no effect, as pixels that are no numbers were refused on export.
        """
        if self.classes and labels is None:
            labels = [int(index) % len(self.classes) for index in indices]
        images = []
        for start in range(0, len(indices), BATCH):
            chunk = slice(start, start + BATCH)
            z = latents(indices[chunk], seed, self.z_dim, self.draw)
            images.append(self.generate(z, None if labels is None else labels[chunk]))
        return np.concatenate(images)

    def generate(
        self, z: NDArray[np.float32], labels: Sequence[int] | None = None, *, checked_as: str = ""
    ) -> NDArray[np.uint8]:
        """Images uint8 (N, H, W, C) of latents (N, z_dim) and class indices (N,).

        checked_as: has no effect, as pixels that are no numbers were refused on export.
        """
        inputs: dict[str, Any] = {LATENT: z}
        if labels is not None:
            inputs[LABEL] = np.asarray(labels, np.int64)
        (images,) = self.session.run([IMAGES], inputs)
        made: NDArray[np.uint8] = images
        return made

    def _refuse_other_shapes(self, path: Path) -> None:
        """Raises RunError unless the graph's inputs and output are those that the card names."""
        card, image = self.card, self.card.image
        expected: dict[str, list[int]] = {LATENT: [card.z_dim]}
        if card.conditional:
            expected[LABEL] = []
        expected[IMAGES] = [image.height, image.width, image.channels]
        ends = [*self.session.get_inputs(), *self.session.get_outputs()]
        found = {end.name: end.shape[1:] for end in ends}
        batches = [end.shape[0] for end in ends if end.shape]
        types = {end.name: end.type for end in ends}
        if (
            found != expected
            or types != {name: TYPES[name] for name in expected}
            or any(isinstance(batch, int) for batch in batches)
        ):
            raise RunError(f"{path} does not fit its own card: export it again")


def _session(content: bytes, path: Path) -> Any:
    """Return onnxruntime's session of a graph.

    It is given bytes, not a path, so that data in other files has no place to be read from.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        what = f"{path} is run by onnxruntime, which is not installed"
        raise MissingExtraError(f"{what}: pip install 'ganvas[export]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    try:
        return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    # onnxruntime has a dozen kinds of errors, which share no base
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path} is damaged, or no graph that stands alone ({reason})") from None
