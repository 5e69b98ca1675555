"""Picture sets from the files of packages: one function a set, from (name, content) to pictures."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganvas.errors import DataError
from ganvas.system.text import count

Members = Iterable[tuple[str, bytes]]

LONGER_SIDE = 256  # of stamps; larger ones are reduced to it
SPRITE = 72  # pixels, height and width
MIN_VISIBLE = 0.02  # part of a sprite's pixels; less is a spark or a frame's end
REDUCED, PATCH = 2048, 128  # shorter side of photographs before patches are cut; side of a patch
MIN_CONTRAST = 10  # standard deviation in a patch's strongest channel, of 255; less is plain sky
HELD_OUT = 10  # one picture in ten

# Photographs among the wallpapers, by the beginnings of their names. The others are drawn.
PHOTOGRAPHS = (
    *("Bridge_", "Dragonfly_", "Kleiber_", "Picture_0B_", "Picture_1A_", "Wine_", "aitzgorri_"),
    *("free_", "friends_", "greentock_", "life_", "picosdeeuropa_", "seeding_", "sunset_"),
)
FOODS = {
    "A": "cereals",
    "B": "pulses",
    "C": "leafy-vegetables",
    "D": "other-vegetables",
    "E": "fruits",
    "F": "roots",
    "G": "spices",
    "H": "nuts",
    "I": "sugars",
    "J": "mushrooms",
    "K": "miscellaneous",
    "L": "milk",
    "M": "eggs",
    "N": "poultry",
    "O": "meat",
    "P": "sea-fish",
    "Q": "shellfish",
    "R": "molluscs",
    "S": "river-fish",
    "T": "oils",
}


class Item(NamedTuple):
    """A file of a set.

    name: path below train/ or test/.
    content: of the file.
    family: items of one family are in the same part; "" if the picture has no relatives.
    """

    name: str
    content: bytes
    family: str = ""

    @property
    def part(self) -> str:
        """`train` or `test`, by a hash of the content, or of the family."""
        digest = hashlib.sha256(self.family.encode() or self.content).digest()
        return "test" if int.from_bytes(digest[:8]) % HELD_OUT == 0 else "train"


@dataclass
class Made:
    """The content of a set: files of train/ and test/, files beside these, and remarks."""

    items: list[Item] = field(default_factory=list)
    beside: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def stamps(members: Members) -> Made:
    """Photographs and drawings with transparent surroundings; a class for each folder."""
    made = Made()
    for name, content in members:
        kind, *rest = name.split("/stamps/")[1].split("/")
        image = opened(name, content).convert("RGBA")
        stem = "-".join(rest).removesuffix(".png")
        family = re.sub("_(mirror|flip)", "", f"{kind}/{stem}")
        made.items.append(Item(f"{kind}/{stem}.png", png(reduced(image, LONGER_SIDE)), family))
    return made


def emoji(members: Members) -> Made:
    """Emoji with transparent surroundings; a class for each category."""
    files = {PurePosixPath(name).name: content for name, content in members}
    made = Made()
    for entry in json.loads(files.get("emoji.json", b"[]")):
        kind = "-".join(re.findall("[a-z]+", entry["category"].lower()))
        tones = entry.get("skin_variations", {}).values()
        for name in [entry["image"], *(tone["image"] for tone in tones)]:
            if name in files:
                image = opened(name, files[name]).convert("RGBA")
                made.items.append(Item(f"{kind}/{name}", png(image), entry["unified"]))
    return made


def sprites(members: Members) -> Made:
    """Frames of a game's units on transparent ground, 72x72; a class for each people."""
    made = Made()
    large = faint = 0
    for name, content in members:
        kind, *rest = name.split("/images/units/")[1].split("/")
        image = opened(name, content).convert("RGBA")
        pixels = np.asarray(image)
        visible = pixels[pixels[..., 3] > 127]
        box = image.getbbox(alpha_only=True)
        if box is None or len(visible) < MIN_VISIBLE * SPRITE**2 or not np.ptp(visible, 0).any():
            faint += 1
        elif box[2] - box[0] > SPRITE or box[3] - box[1] > SPRITE:
            large += 1
        else:
            stem = "-".join(rest).removesuffix(".png")
            # "archer+female-bow-attack2" is a frame of "archer"
            family = f"{kind}/{re.split('[-+0-9]', stem)[0]}"
            made.items.append(Item(f"{kind}/{stem}.png", png(_on_square(image, box)), family))
    for left_out, why in (
        (large, f"larger than {SPRITE}x{SPRITE}"),
        (faint, "almost empty, or of one colour"),
    ):
        if left_out:
            made.notes.append(f"{count(left_out, 'frame')} left out: {why}")
    return made


def food(members: Members) -> Made:
    """Photographs of foods, as they come; a class for each food group."""
    made = Made()
    for name, content in members:
        path = PurePosixPath(name)
        opened(name, content)
        kind = FOODS.get(path.name[0], "other")
        made.items.append(Item(f"{kind}/{path.stem}.jpg", content))
    return made


def solar(members: Members) -> Made:
    """Grey pictures of solar cells, as they come; a class for each probability of a defect."""
    files = {PurePosixPath(name).name: content for name, content in members}
    table = files.pop("labels.csv", b"").decode().replace(",", " ").splitlines()
    percents = {
        PurePosixPath(row.split()[0]).name: round(100 * float(row.split()[1]))
        for row in table
        if ".png" in row
    }
    made = Made()
    for name, content in sorted(files.items()):
        if name not in percents:
            raise DataError(f"{name} has no row in labels.csv: its package has changed")
        opened(name, content)
        made.items.append(Item(f"defect-{percents[name]:03}/{name}", content))
    return made


def patches(members: Members) -> Made:
    """Squares cut from photographs side by side, without plain ones; no classes."""
    made = Made()
    plain = photographs = 0
    for name, content in sorted(members):
        path = PurePosixPath(name)
        if not path.name.startswith(PHOTOGRAPHS):
            continue
        photographs += 1
        image = opened(name, content).convert("RGB")
        scale = min(1, REDUCED / min(image.size))
        size = (round(image.width * scale), round(image.height * scale))
        for number, patch in enumerate(_squares(image.resize(size, Image.Resampling.LANCZOS))):
            if np.asarray(patch).std((0, 1)).max() < MIN_CONTRAST:
                plain += 1
            else:
                made.items.append(Item(f"{path.stem}-{number:03}.png", png(patch)))
    made.notes.append(f"{count(photographs, 'photograph')}; {plain:,} plain squares left out")
    return made


def fashion(members: Members) -> Made:
    """The four files of Fashion-MNIST, as they come."""
    made = Made()
    for name, content in members:
        made.beside.append(Item(PurePosixPath(name).name, content))
    made.notes.append("28x28 grey, ten classes: 60,000 for training, 10,000 held out")
    return made


def opened(name: str, content: bytes) -> Image.Image:
    """The decoded picture in a file. Raises DataError if it cannot be read."""
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {name}: {error}") from None
    return image


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file, without metadata."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(file, "PNG")
    return file.getvalue()


def reduced(image: Image.Image, longer: int) -> Image.Image:
    """An RGBA picture whose longer side is at most `longer` pixels."""
    scale = longer / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # colours weighted by their opacity, so that what is hidden does not bleed in
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def _on_square(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """The picture at the centre of a transparent square, moved until all of `box` is on it."""
    square = Image.new("RGBA", (SPRITE, SPRITE))
    corner = []
    for size, low, high in ((image.width, box[0], box[2]), (image.height, box[1], box[3])):
        centred = (SPRITE - size) // 2
        corner.append(min(max(centred, -low), SPRITE - high))
    square.paste(image, (corner[0], corner[1]))
    return square


def _squares(image: Image.Image) -> Iterator[Image.Image]:
    for top in range(0, image.height - PATCH + 1, PATCH):
        for left in range(0, image.width - PATCH + 1, PATCH):
            yield image.crop((left, top, left + PATCH, top + PATCH))
