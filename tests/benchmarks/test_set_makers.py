"""Picture sets from the files of packages: what becomes of each picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganvas.errors import DataError
from helpers.packed_pictures import disc, encoded, noise
from sets import set_makers
from sets.set_makers import Item, opened


def test_a_tenth_is_held_out_by_content_and_families_stay_together() -> None:
    parts = [Item("x.png", bytes([k % 256, k // 256])).part for k in range(2000)]
    assert 150 < parts.count("test") < 250
    assert set(parts) == {"train", "test"}
    assert Item("another.png", bytes([3, 0])).part == parts[3]
    for family in map(str, range(20)):
        assert len({Item("x.png", bytes([k]), family).part for k in range(50)}) == 1


def test_stamps_keep_what_is_transparent_and_their_shape() -> None:
    made = set_makers.stamps(
        [
            ("usr/share/tuxpaint/stamps/animals/birds/crow.png", encoded(disc(40, 30))),
            ("usr/share/tuxpaint/stamps/animals/birds/crow_mirror.png", encoded(disc(40, 31))),
            ("usr/share/tuxpaint/stamps/town/bench.png", encoded(disc(600, 300))),
        ]
    )
    names = ["animals/birds-crow.png", "animals/birds-crow_mirror.png", "town/bench.png"]
    assert [item.name for item in made.items] == names
    assert made.items[0].family == made.items[1].family != made.items[2].family
    crow, _, bench = (opened(item.name, item.content) for item in made.items)
    np.testing.assert_array_equal(np.asarray(crow), np.asarray(disc(40, 30)))
    assert (bench.mode, bench.size) == ("RGBA", (256, 128))


def test_hidden_colours_do_not_bleed_into_a_reduced_stamp() -> None:
    pixels = np.zeros((300, 600, 4), np.uint8)
    pixels[:, :303] = (0, 200, 0, 255)
    pixels[:, 303:] = (255, 0, 0, 0)
    content = encoded(Image.fromarray(pixels))
    (item,) = set_makers.stamps([("usr/share/tuxpaint/stamps/a/b.png", content)]).items
    small = np.asarray(opened(item.name, item.content))
    seen = small[small[..., 3] > 25]
    assert seen[:, 0].max() < 30


def test_emoji_have_the_classes_of_their_table_and_tones_are_a_family() -> None:
    table = [
        {
            "unified": "1F44B",
            "image": "1f44b.png",
            "category": "People & Body",
            "skin_variations": {"1F3FB": {"image": "1f44b-1f3fb.png"}},
        },
        {"unified": "1F34E", "image": "1f34e.png", "category": "Food & Drink"},
        {"unified": "FFFF", "image": "not-drawn.png", "category": "Symbols"},
    ]
    folder = "package/img/google/64/"
    files = ("1f44b.png", "1f44b-1f3fb.png", "1f34e.png", "of-no-entry.png")
    members = [(folder + name, encoded(noise(k, 8, 8, 4))) for k, name in enumerate(files)]
    items = set_makers.emoji([*members, ("package/emoji.json", json.dumps(table).encode())]).items
    assert [item.name for item in items] == [
        "people-body/1f44b.png",
        "people-body/1f44b-1f3fb.png",
        "food-drink/1f34e.png",
    ]
    assert items[0].family == items[1].family != items[2].family
    assert opened("x", items[0].content).mode == "RGBA"


def test_sprites_are_centred_on_one_square_and_never_cut() -> None:
    root = "usr/share/games/wesnoth/1.16/data/core/images/units/"
    aside = Image.new("RGBA", (100, 60))
    aside.paste(disc(50, 50), (0, 5))
    members = {
        "elves/archer+female-bow2.png": disc(72, 72),
        "elves/archer-die-1.png": disc(40, 30),
        "trolls/whelp.png": aside,
        "trolls/rocklobber/giant.png": disc(90, 72),
        "trolls/spark.png": disc(6, 6),
        "trolls/gone.png": Image.new("RGBA", (72, 72)),
        "trolls/mask.png": Image.new("RGBA", (72, 72), "white"),
    }
    made = set_makers.sprites((root + name, encoded(image)) for name, image in members.items())
    assert [item.name for item in made.items] == list(members)[:3]
    assert made.notes == [
        "1 frame left out: larger than 72x72",
        "3 frames left out: almost empty, or of one colour",
    ]
    assert made.items[0].family == made.items[1].family != made.items[2].family
    images = [opened(item.name, item.content) for item in made.items]
    assert {(image.mode, image.size) for image in images} == {("RGBA", (72, 72))}
    np.testing.assert_array_equal(np.asarray(images[0]), np.asarray(disc(72, 72)))
    np.testing.assert_array_equal(np.asarray(images[1])[21:51, 16:56], np.asarray(disc(40, 30)))
    # its ground of 100 pixels is centred, moved by as much as shows all of it
    np.testing.assert_array_equal(np.asarray(images[2])[11:61, :50], np.asarray(disc(50, 50)))


def test_foods_are_the_package_s_own_files_in_their_groups() -> None:
    content = encoded(noise(1, 30, 20), "JPEG")
    (item,) = set_makers.food([("package/assets/E013.jpeg", content)]).items
    assert (item.name, item.content) == ("fruits/E013.jpg", content)


def test_solar_cells_are_classed_by_the_probability_of_a_defect() -> None:
    cells = [encoded(noise(k, 6, 6, 1)) for k in range(2)]
    table = b"images/cell0001.png,1.0,mono\nimages/cell0002.png   0.3333333333333333   poly\n"
    folder = "elpv_dataset/data/"
    members = [(f"{folder}images/cell000{k + 1}.png", cell) for k, cell in enumerate(cells)]
    items = set_makers.solar([(f"{folder}labels.csv", table), *members]).items
    assert [(item.name, item.content) for item in items] == [
        ("defect-100/cell0001.png", cells[0]),
        ("defect-033/cell0002.png", cells[1]),
    ]
    with pytest.raises(DataError, match=r"cell0002\.png has no row in labels\.csv"):
        set_makers.solar([(f"{folder}labels.csv", table[:30]), *members])


def test_patches_are_neighbours_in_a_photograph_without_its_plain_parts() -> None:
    photograph = noise(5, 16, 16).resize((400, 400), Image.Resampling.BICUBIC)
    photograph.paste((90, 120, 200), (0, 0, 400, 140))
    made = set_makers.patches(
        [
            ("usr/share/backgrounds/Bridge_by_Someone.jpg", encoded(photograph, "JPEG")),
            ("usr/share/backgrounds/Drawing_by_Someone.jpg", encoded(noise(6, 300, 300), "JPEG")),
        ]
    )
    # three rows of three, of which the sky takes one
    assert made.notes == ["1 photograph; 3 plain squares left out"]
    assert [item.name for item in made.items] == [
        f"Bridge_by_Someone-00{number}.png" for number in range(3, 9)
    ]
    left, right = (np.asarray(opened("x", item.content)) for item in made.items[:2])
    assert left.shape == (128, 128, 3)
    assert np.abs(left[:, -1].astype(int) - right[:, 0]).mean() < 15


def test_large_photographs_are_reduced_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_makers, "REDUCED", 256)
    photograph = noise(5, 16, 16).resize((520, 1040), Image.Resampling.BICUBIC)
    content = encoded(photograph, "JPEG")
    made = set_makers.patches([("usr/share/backgrounds/Wine_by_Someone.jpg", content)])
    assert len(made.items) == 2 * 4


def test_fashion_is_copied(tmp_path: Path) -> None:
    made = set_makers.fashion([("usr/share/datasets/fashion-mnist/t10k-x-ubyte.gz", b"gz")])
    assert [(item.name, item.content) for item in made.beside] == [("t10k-x-ubyte.gz", b"gz")]
    assert not made.items


def test_what_is_no_picture_is_named() -> None:
    whole = encoded(noise(1, 50, 50))
    gif = io.BytesIO()
    noise(1, 5, 5).save(gif, "GIF")
    for content in (b"", b"text", whole[:2000], gif.getvalue()):
        with pytest.raises(DataError, match=r"^cannot read a/crow\.png: "):
            opened("a/crow.png", content)
