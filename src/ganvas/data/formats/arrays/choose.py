"""Which of several arrays are images and labels, of the training part and of the held-out one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ganvas.data.assemble import Assembled, Labels, assemble_array
from ganvas.data.decoding.ranges import Values
from ganvas.data.formats import limits
from ganvas.data.formats.arrays.entry import ArrayEntry
from ganvas.data.formats.arrays.labels import class_indices, flat_labels
from ganvas.data.formats.arrays.shapes import image_array
from ganvas.data.pictures import PictureOptions
from ganvas.data.reading import NoHeldOutError, Split
from ganvas.errors import DataError, nearest
from ganvas.system.text import first_few

_PLAIN = ("images", "labels", "classes")  # names that need no note


def read_entries(
    where: str,
    name: str,
    entries: Sequence[ArrayEntry],
    split: Split,
    options: PictureOptions,
    chosen: str = "",
    notes: Sequence[str] = (),
) -> Assembled:
    """Read the images of a split from arrays, and the labels that belong to them.

    name: of the data set.
    notes: on the source, come first.
    chosen: the name of the images; by default, the array that is called or shaped so.
    Raises DataError, which lists the arrays where the choice is in doubt; NoHeldOutError.
    """
    choice = _Choice(where, entries, options)
    train = choice.images("train", chosen)
    test = None if chosen else choice.held_out(train)
    if split == "test" and test is None:
        raise NoHeldOutError(
            f"{where} has no held-out part: add arrays x_test and y_test, or test_images and"
            " test_labels"
        )
    parts = [train] if test is None else [train, test]
    labels, classes = choice.labels(parts)
    place = parts.index(test) if split == "test" and test is not None else 0
    entry = parts[place]
    limits.check_memory(f"{where}: {entry}", entry.size)
    of = labels[place]
    images, form = image_array(where, entry, entry.read(), None if of is None else len(of))
    classes = () if of is None else classes
    return assemble_array(name, images, of, classes, options, (*notes, *choice.notes(), *form))


@dataclass
class _Choice:
    """The arrays of a source, and what each was taken for."""

    where: str
    entries: Sequence[ArrayEntry]
    options: PictureOptions
    taken: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def images(self, part: str, chosen: str = "") -> ArrayEntry:
        """The images of the training part. Raises DataError if the choice is in doubt."""
        if chosen:
            named = {entry.name: entry for entry in self.entries}
            if chosen not in named:
                raise DataError(f"{self.where} holds no array {chosen}: {nearest(chosen, named)}")
            return self._take(named[chosen], "images")
        called = [entry for entry in self.entries if entry.role == "images"]
        for parts in ((part,), ("",)):
            fitting = [entry for entry in called if entry.part in parts and _is_candidate(entry)]
            if fitting:
                return self._take(self._first(fitting), "images")
        shaped = [e for e in self.entries if e.may_be_images and len(e.shape) > 2 and not e.role]
        if not shaped:
            shaped = [e for e in self.entries if e.may_be_images and e.role != "labels"]
        if len(shaped) != 1:
            raise self._in_doubt()
        return self._take(shaped[0], "images")

    def held_out(self, train: ArrayEntry) -> ArrayEntry | None:
        """The images of the test part, else of the validation part; None if there are none."""
        for part in ("test", "val"):
            fitting = [
                entry
                for entry in self.entries
                if (entry.role, entry.part) == ("images", part)
                and _is_candidate(entry)
                and entry is not train
            ]
            if fitting:
                return self._take(self._first(fitting), "images held out")
        return None

    def labels(self, parts: list[ArrayEntry]) -> tuple[list[Labels | None], tuple[str, ...]]:
        """Labels of each part, or None, and the names of the classes."""
        values = [self._labels_of(images) for images in parts]
        labelled = [each for each in values if each is not None]
        if values[0] is None:
            if any(entry.name == "classes" for entry in self.entries):
                alone = "holds classes and no labels: add one integer per image"
                raise DataError(f"{self.where} {alone}")
            return [None] * len(parts), ()
        indices, classes = class_indices(self.where, labelled, self._class_names())
        found = iter(indices)
        return [None if each is None else next(found) for each in values], classes

    def _labels_of(self, images: ArrayEntry) -> Values | None:
        column = self.options.label_column
        called = [e for e in self.entries if e.role == "labels" and e.name not in self.taken]
        if column is not None:
            called = [e for e in self.entries if column in (e.name, e.name.split("/")[-1])]
            if not called:
                known = [e.name for e in self.entries if e is not images]
                raise DataError(f"{self.where}: --label-column {column}: {nearest(column, known)}")
        called = [e for e in called if e.part == images.part] or [e for e in called if not e.part]
        for entry in sorted(called, key=lambda each: (each.rest != images.rest, each.rank)):
            if entry.name == "arr_1" and (entry.kind not in tuple("iu") or len(entry.shape) != 1):
                continue  # latents, for example
            if entry.kind in ("", "O"):
                entry.read()  # raises
            n = _number_of(images, entry)
            values, phrase = flat_labels(entry.read(), n) if n else (None, "")
            if values is not None:
                self._take(entry, "labels", phrase)
                return values
            self._refuse(images, entry)
        return None

    def _refuse(self, images: ArrayEntry, entry: ArrayEntry) -> None:
        """Raises DataError for labels that do not fit, unless they are several per image."""
        if len(entry.shape) == 2 and entry.shape[0] == images.shape[0] and entry.shape[1] > 1:
            several = f"{entry.name} {entry.shape} are several values per image, no classes"
            self.remarks.append(f"{several}: read without them")
        elif entry.name == self.options.label_column or (
            (images.name, entry.name) == ("images", "labels")
        ):
            kind = f"{entry.dtype} {entry.shape}"
            expected = f"expected {images.shape[0]:,} integers, one per image"
            raise DataError(f"{self.where}: {entry.name} are {kind}, {expected}")

    def _class_names(self) -> tuple[str, ...] | None:
        called = [entry for entry in self.entries if entry.role == "classes"]
        odd = [entry for entry in self.entries if entry.name == "classes" and entry not in called]
        for entry in odd + called:
            if entry.kind in ("", "O"):
                entry.read()  # raises
            if entry.kind not in tuple("US") or len(entry.shape) != 1:
                kind = f"{entry.dtype} {entry.shape}"
                wanted = f"classes are {kind}, expected one string per class"
                raise DataError(f"{self.where}: {wanted}")
        if not called:
            return None
        names = self._take(called[0], "classes").read()
        return tuple(
            n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names.tolist()
        )

    def _take(self, entry: ArrayEntry, role: str, phrase: str = "") -> ArrayEntry:
        if entry.kind in ("", "O"):
            entry.read()  # raises
        self.taken[entry.name] = f"{role} ({phrase})" if phrase else role
        return entry

    def _first(self, fitting: list[ArrayEntry]) -> ArrayEntry:
        """The entry of the most usual name. Raises DataError if several are as usual."""
        best = min(entry.rank for entry in fitting)
        usual = [entry for entry in fitting if entry.rank == best]
        if len(usual) > 1:
            raise self._in_doubt()
        return usual[0]

    def _in_doubt(self) -> DataError:
        listed = first_few(map(str, self.entries)) or "nothing"
        example = next((e.name for e in self.entries if e.may_be_images), "NAME")
        return DataError(
            f"{self.where} does not tell which array holds the images; it holds {listed}: name it,"
            f" as {self.where}:{example}"
        )

    def notes(self) -> list[str]:
        """Sentences on what arrays were taken for, and on those not used."""
        read = [f"{name} is read as {as_}" for name, as_ in self.taken.items() if name != as_]
        others = [entry.name for entry in self.entries if entry.name not in self.taken]
        unused = [f"arrays not used: {first_few(sorted(others))}"] if others else []
        return [*([", ".join(read)] if read else []), *self.remarks, *unused]


def _is_candidate(entry: ArrayEntry) -> bool:
    """Return True for what may hold images, and for any array named images, to say why not."""
    return entry.may_be_images or entry.name in ("images", "arr_0")


def _number_of(images: ArrayEntry, labels: ArrayEntry) -> int:
    """The number of images, as far as labels agree; 0 if they do not."""
    sides = (
        {images.shape[0], images.shape[-1]}
        if images.matlab or len(images.shape) == 4
        else {images.shape[0]}
    )
    fitting = [n for n in sorted(sides, key=lambda n: n != images.shape[0]) if n in labels.shape]
    if not fitting and labels.shape == () and images.shape[0] == 1:
        return 1
    return fitting[0] if fitting else 0
