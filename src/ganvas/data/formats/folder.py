"""Data sets in a folder or an archive of pictures, or of IDX files.

    a.png, b.png                        no classes
    a.png, b.png, labels.csv            classes from a table of files and labels
    cats/.../a.png, dogs/.../b.png      a class for each folder
    train/..., test/...                 one of these in each, the pictures of the second held out
    00000/..., 00001/..., dataset.json  StyleGAN's packed sets

A folder that holds nothing but one folder is skipped. Pictures beside folders of pictures have no
classes.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ganvas.data.assemble import Assembled, Picture, assemble
from ganvas.data.formats.limits import Files
from ganvas.data.labels import sorted_classes
from ganvas.data.pictures import SUFFIXES, PictureOptions, open_picture
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.data.trees.label_tables import LabelTables, tables_in
from ganvas.data.trees.splits import Part, find_parts
from ganvas.data.trees.stylegan import are_buckets, packed_labels
from ganvas.errors import DataError
from ganvas.system.text import count, first_few, printable

_PICTURES = re.compile("(jpeg|png)?(image|img|picture|photo|input|original)s?", re.IGNORECASE)
_MASKS = re.compile(
    "(mask|annotation|label|trimap|ground_?truth|gt|depth|edge)s?|segmentation(s|class)?",
    re.IGNORECASE,
)


def read_folder(path: Path, files: Files, split: Split, options: PictureOptions) -> Assembled:
    """Read a folder or an archive of pictures.

    Raises DataError; NoHeldOutError if the held-out part is missing.
    """
    tree = _Tree(path, files, list(filter(_is_picture, files)), options, list(files.notes))
    names, of, classes = tree.plan(split)
    pictures = [Picture(name, partial(open_picture, files[name])) for name in names]
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[of[name]] for name in names], np.int64) if classes else None
    return assemble(path.resolve().name, pictures, labels, classes, options, tuple(tree.notes))


@dataclass(frozen=True)
class _Labelling:
    """The classes of a part's pictures.

    of: the class of each picture that has one; {} without classes.
    classes: known beyond those that occur.
    """

    of: dict[str, str]
    classes: tuple[str, ...] = ()


@dataclass
class _Tree:
    """The visible files, by name.

    pictures: names of those that are pictures.
    notes: what `plan` decided, for the user.
    used: files that are no pictures and were read, or are named in the notes.
    """

    path: Path
    files: Files
    pictures: list[str]
    options: PictureOptions
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.pictures:
            others = f", only {count(len(self.files), 'other file')}" if self.files else ""
            known = ", ".join(sorted(SUFFIXES))
            raise DataError(f"{self.path} holds no pictures{others}: expected files in {known}")

    def plan(self, split: Split) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
        """The names of a split's pictures in order, the class of each, and all classes.

        The held-out part has the classes of the train part.
        """
        base, entered = _entered({name: name for name in self.pictures})
        tables_here = tables_in(self.files, self.pictures)
        parts, note = find_parts(self.path, base, self.pictures, tables_here)
        if split not in parts:
            raise NoHeldOutError(f"{self.path} has no held-out part: put it into test/")
        self.notes += note
        column, held_out = self.options.label_column, "test" in parts
        tables = LabelTables(self.path, self.files, self.pictures, tables_here, column, held_out)
        train = self._labelling(parts["train"], tables, () if len(parts) > 1 else entered)
        classes = train.classes or sorted_classes(train.of.values())
        chosen = train
        if split == "test":
            chosen = self._held_out(parts, tables, classes)
            classes = classes if chosen.of else ()
        self.notes += tables.notes()
        self.used |= tables.read | tables.refused.keys()
        self._note_others()
        names = [name for name in parts[split].names if not chosen.of or name in chosen.of]
        return names, chosen.of, classes

    def _held_out(
        self, parts: dict[Split, Part], tables: LabelTables, classes: tuple[str, ...]
    ) -> _Labelling:
        """The classes of the held-out part, which must be among those of the train part."""
        if not classes:
            return _Labelling({})
        of = self._labelling(parts["test"], tables, (), known=classes).of
        lower = Counter(name.casefold() for name in classes)
        same = {name.casefold(): name for name in classes if lower[name.casefold()] == 1}
        renamed = {
            label: same[label.casefold()]
            for label in sorted(set(of.values()) - set(classes))
            if label.casefold() in same
        }
        if renamed:
            pairs = first_few(f"{label} read as {name}" for label, name in renamed.items())
            self.notes.append(f"classes of {parts['test'].where} that differ in case: {pairs}")
        of = {name: renamed.get(label, label) for name, label in of.items()}
        if unknown := sorted(set(of.values()) - set(classes)):
            raise DataError(
                f"{self.path}: {parts['test'].where} has classes that {parts['train'].where}"
                f" lacks: {first_few(unknown)}: remove them, or add pictures there"
            )
        return _Labelling(of)

    def _labelling(
        self,
        part: Part,
        tables: LabelTables,
        entered: tuple[str, ...],
        known: Collection[str] = (),
    ) -> _Labelling:
        """The classes of a part: from dataset.json, from a table, or from folders.

        A column that the user named, or "none", overrules dataset.json.

        entered: notes on the folders around all the pictures.
        known: classes of the train part.
        """
        folder = next(iter(part.names)).rpartition("/")[0] + "/"
        packed = None
        if self.options.label_column is None:
            packed = packed_labels(self.path, folder, self.files, self.pictures, list(part.names))
        if packed is not None:
            self.used.add(packed.file)
            self.notes += packed.notes
            return _Labelling(packed.of, packed.classes)
        folders, notes = _folder_classes(part, known)
        table = tables.labels(part, folders)
        if table is not None:
            self.notes += table.notes
            return _Labelling(table.of)
        self.notes += (*entered, *notes)
        return _Labelling(folders)

    def _note_others(self) -> None:
        if others := set(self.files).difference(self.pictures, self.used):
            kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
            listed = first_few(f"{kind} {n:,}" for kind, n in sorted(kinds.items()))
            self.notes.append(f"{count(len(others), 'file')} passed over, not pictures ({listed})")


def _is_picture(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in SUFFIXES  # pathlib would be ten times slower


def _entered(below: dict[str, str], known: Collection[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The folder that holds all pictures and is no class, and a note on each one entered.

    below: name of each picture and its name inside the part.
    known: folders that are classes, whatever their case.
    """
    base, notes = "", list[str]()
    classes = set(map(str.casefold, known))
    names, inner = list(below), list(below.values())
    while True:
        folders, direct = _below(inner)
        if direct or len(folders) > 1 or folders[0].casefold() in classes:
            return base, tuple(notes)
        base += f"{folders[0]}/"
        outer = names[0][: len(names[0]) - len(inner[0])] + f"{folders[0]}/"
        notes.append(f"{printable(outer)} holds all the pictures, so it is not a class")
        inner = [name.split("/", 1)[1] for name in inner]


def _folder_classes(part: Part, known: Collection[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The class of each picture from its folder, {} without classes; notes."""
    base, notes = _entered(part.names, known)
    inner = {name: below[len(base) :] for name, below in part.names.items()}
    folders, direct = _below(inner.values())
    if direct:
        beside = f"{count(len(folders), 'folder')} of pictures"
        line = f"pictures lie beside {beside}: read without classes"
        return {}, (*notes, line) if folders else notes
    of = {name: below.split("/", 1)[0] for name, below in inner.items()}
    plain = [folder for folder in folders if _PICTURES.fullmatch(folder)]
    masks = [folder for folder in folders if _MASKS.fullmatch(folder)]
    if plain and masks:
        pair = f"{plain[0]}/ and {masks[0]}/ are read as classes"
        notes = (*notes, f"{pair}: if these are pictures and their masks, give {plain[0]}/ alone")
    groups: dict[str, list[str]] = {}
    for name, folder in of.items():
        groups.setdefault(folder, []).append(name)
    if not known and are_buckets(groups):
        line = f"the folders {folders[0]} to {folders[-1]} are portions of one series, no classes"
        return {}, (*notes, line)
    return of, notes


def _below(names: Iterable[str]) -> tuple[list[str], bool]:
    """The outermost folders of some names, and True if some names have none."""
    pieces = [name.split("/", 1) for name in names]
    folders = sorted({piece[0] for piece in pieces if len(piece) > 1})
    return folders, any(len(piece) == 1 for piece in pieces)
