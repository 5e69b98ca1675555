"""ModelCard: what a generator's exported file says about itself, as JSON. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ganvas.errors import RunError
from ganvas.recipe import ImageSpec, NonNegative, Positive
from ganvas.sampling.latents import LATENT_DRAW
from ganvas.system.schema import parse_card

MODEL_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that using a generator needs, and where it comes from.

    recipe: name of the recipe that trained it.
    image: sides, channels and classes of its images.
    z_dim: values of a latent.
    conditional: True if it takes a label.
    latent_draw: version of the draw of latents (see `ganvas.sampling.latents`).
    data: name of the data set, without the folder in which it lay.
    data_images: its number of images.
    licence: of the weights, as their maker names it; "" if it was not named.
    versions: of ganvas and torch.
    """

    format: int = MODEL_FORMAT
    recipe: str
    image: ImageSpec
    z_dim: Positive
    conditional: bool
    latent_draw: Positive
    data: str
    data_images: NonNegative
    licence: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be asked for; () for an unconditional generator."""
        return self.image.classes if self.conditional else ()

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str, origin: str) -> ModelCard:
        """Raises RunError, naming `origin`, for what is no card or one of a newer format."""
        card = parse_card(text, cls, MODEL_FORMAT, origin)
        if card.latent_draw > LATENT_DRAW:
            raise RunError(f"{origin} draws its latents in a newer way: upgrade ganvas")
        return card
