"""From what a user names, a built-in data set or a path, to a `Dataset`."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganvas import data as sources
from ganvas.data.assemble import Assembled, NoHeldOutError, Split, unreadable_line
from ganvas.data.catalogue import NAMES, read_named
from ganvas.data.dataset import Dataset
from ganvas.data.folder import read_folder
from ganvas.data.idx import is_idx, read_idx
from ganvas.data.npz import read_npz
from ganvas.data.pictures import Channels, Fit, Wish
from ganvas.errors import DataError, SettingError, nearest
from ganvas.system.paths import expanded
from ganvas.system.text import is_utf8, not_utf8, printable

TOLERATED = 0.01  # the share of pictures that may be unreadable


def load_dataset(
    what: str | os.PathLike[str],
    *,
    split: Split = "train",
    size: tuple[int, int] | None = None,
    native: tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: Channels | None = None,
    data_dir: Path | None = None,
    fetch: bool = True,
) -> Dataset:
    """Read a data set into memory.

    what: one of `NAMES`, or the path of a folder of pictures, a .zip of one, a .npz, a file of IDX
    images or a folder
        of them. A name wins over a path: write './mnist' for a folder that is called so.
    split: the part to train on or the one held out. Size and channels are settled by the pictures
    of that part alone:
        read the held-out part with the `size` and `channels` of the part trained on.
    size: (H, W) of the result. Without it pictures of one size keep it, and mixed ones take
    `native`.
    native: the recipe's own (H, W), for pictures of mixed sizes.
    fit: crop (to the middle), pad (with white, transparent where there are 4 channels) or stretch,
    where shapes differ.
    channels: 1, 3 or 4. None: 4 if any picture is transparent somewhere, else 3 if any has colour,
    else 1.
    data_dir: where the named sets lie; else $GANVAS_DATA, else the cache.
    fetch: whether a named set that is not there may be fetched.

    The result's notes say what was done. Raises DataError for what cannot be read, also where more
    than 1% of the pictures cannot, and SettingError for a size, fit, split or number of channels
    that cannot be.
    """
    reading = read_source(what, split, Wish(size, native, fit, channels), data_dir, fetch=fetch)
    total = len(reading.dataset) + len(reading.unreadable)
    if len(reading.unreadable) > TOLERATED * total:
        raise DataError(
            f"{what}: {unreadable_line(reading.unreadable, total)}; remove them, or mend them"
        )
    return reading.dataset


def load_held_out(
    what: str | os.PathLike[str],
    training: Dataset,
    *,
    fit: Fit = "crop",
    data_dir: Path | None = None,
) -> Dataset | None:
    """The held-out part of what `training` was read from, in its size and channels; None where
    nothing is held out."""
    channels: Any = training.channels
    try:
        return load_dataset(
            what,
            split="test",
            size=(training.height, training.width),
            fit=fit,
            channels=channels,
            data_dir=data_dir,
        )
    except NoHeldOutError:
        return None


def read_source(
    what: str | os.PathLike[str],
    split: Split,
    wish: Wish,
    data_dir: Path | None = None,
    *,
    digests: bool = False,
    fetch: bool = True,
) -> Assembled:
    """`load_dataset`, however many pictures cannot be read, with what was seen on the way."""
    if split not in ("train", "test"):
        raise SettingError(
            f"no split is called {split!r}: {nearest(str(split), ('train', 'test'))}"
        )
    if isinstance(what, str) and what in NAMES:
        return read_named(what, split, wish, data_dir, digests=digests, fetch=fetch)
    if not os.fspath(what).strip():
        raise DataError(
            "no data is named: give a data set's name or a path, as --data or after inspect"
        )
    if not is_utf8(os.path.abspath(what)):
        raise DataError(not_utf8(os.fspath(what)))
    path = Path(expanded(os.fspath(what)))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(_missing(str(what))) from None
    except OSError as error:
        raise DataError(f"cannot read {printable(str(what))}: {error.strerror}") from None
    # not pathlib: a folder may be closed to us, which its reader tells
    if os.path.isfile(path / "recipe.json"):
        raise DataError(
            f"{path} is a run, whose pictures are sheets and charts: name its data, or have it make"
            f" images, by ganvas sample {shlex.quote(str(path))} --n 10000 --out x.npz"
        )
    if is_idx(path):
        return read_idx(path, split, wish, digests=digests)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return read_folder(path, split, wish, digests=digests)
    if path.suffix.lower() == ".npz":
        return read_npz(path, split, wish, digests=digests)
    raise DataError(
        f"{path} is a single file: expected a folder of pictures, a .zip, a .npz or a file of IDX"
        " images"
    )


def _missing(what: str) -> str:
    if "/" in what or os.sep in what or Path(what).suffix:
        return f"there is no file or folder {what}: check the path"
    return f"{what!r} is neither a data set nor a path: {nearest(what, NAMES)}"


@dataclass(frozen=True)
class Reading:
    """How pictures are read: see `ganvas.data.load_dataset`."""

    size: tuple[int, int] | None = None
    fit: Fit | None = None
    channels: Channels | None = None
    data_dir: Path | None = None

    def load(
        self,
        what: str | os.PathLike[str],
        native: tuple[int, int] | None = None,
    ) -> Dataset:
        return sources.load_dataset(
            what,
            size=self.size,
            native=native,
            fit=self.fit or "crop",
            channels=self.channels,
            data_dir=self.data_dir,
        )

    def held_out(self, what: str | os.PathLike[str], training: Dataset) -> Dataset | None:
        """The held-out part of what `training` was read from, in its size and channels; None where
        nothing is."""
        return sources.load_held_out(what, training, fit=self.fit or "crop", data_dir=self.data_dir)
