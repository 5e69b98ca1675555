"""The folders of a tree that hold the part to train on and the part held out.

train/..., test/...           any usual names, in any case: Training/, val/, seg_test/
trainA/, trainB/, testA/, ... the same with a class in the name
cat/train/..., cat/test/...   the parts inside each class
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ganvas.data.reading import Split
from ganvas.errors import DataError
from ganvas.system.text import count, first_few

# training pictures, and held-out ones in the order of preference
_KINDS = (
    re.compile("train(ing|set|val)?|trn|训练集?"),
    re.compile("test(ing|set)?|tst|测试集?"),
    re.compile("val(id|idation|set)?|dev|eval(uation)?|holdout|验证集?"),
)
# words of a folder's name that make no difference
_COMMON = re.compile(
    r"(image|img|picture|pic|photo|sample|file)s?|data(set)?|set|split|part|folder|jpe?g|png|\d+"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")


@dataclass(frozen=True)
class Part:
    """A part of a tree.

    where: its folder, for messages.
    names: the names of its pictures in order, and their names inside the part.
    held_out: True if the part, or the folder of the whole tree, has a name such as test.
    """

    where: str
    names: dict[str, str]
    held_out: bool = False


@dataclass(frozen=True)
class _Role:
    """The meaning of a folder's name.

    kind: 0 for training, 1 or more for held-out pictures: the higher, the less preferred.
    rest: other words of the name.
    """

    kind: int
    rest: str


def split_of(name: str) -> Split | None:
    """The part that the name of a folder or a table speaks of; None if of none."""
    role = _role(name)
    return None if role is None else "test" if role.kind else "train"


@lru_cache(1024)
def _role(name: str) -> _Role | None:
    joined = re.sub(r"(?i)h[oe]ld[-_ ]?out", "holdout", name)
    words = [word.lower() for word in _WORD.findall(joined)]
    kinds = {kind for kind, known in enumerate(_KINDS) if any(map(known.fullmatch, words))}
    if len(kinds) != 1 and kinds != {0, 2}:  # train_val, with a test beside it
        return None
    known = (*(_KINDS[kind] for kind in kinds), _COMMON)
    rest = " ".join(word for word in words if not any(k.fullmatch(word) for k in known))
    return _Role(min(kinds), rest)


def find_parts(
    path: object, base: str, pictures: list[str], tables: list[str]
) -> tuple[dict[Split, Part], tuple[str, ...]]:
    """The parts below the folder `base` of a tree, and a note on them.

    path: of the tree, for messages.
    tables: names of the files that may hold labels.
    Raises DataError if all folders hold held-out pictures.
    """
    below = {name: name[len(base) :] for name in pictures}
    for arrange in (_outer, _inner):
        placed = arrange(path, below)
        if placed:
            return _parts(base, below, placed, tables)
    whole = base.rstrip("/").rsplit("/", 1)[-1]
    return {"train": Part(base, below, held_out=split_of(whole) == "test")}, ()


# kind, folder and name inside the part of each picture that belongs to one
_Placed = dict[str, tuple[int, str, str]]


def _outer(path: object, below: dict[str, str]) -> _Placed:
    """Place pictures by their outermost folder; {} if no folders make two parts."""
    folders = {name.split("/", 1)[0] for name in below.values() if "/" in name}
    roles = {folder: role for folder in sorted(folders) if (role := _role(folder))}
    train = {role.rest for role in roles.values() if role.kind == 0}
    held_out = {role.rest for role in roles.values() if role.kind}
    if len(folders) > 1 and len(roles) == len(folders) and not train:
        listed = first_few(f"{folder}/" for folder in roles)
        raise DataError(
            f"{path} holds {listed} and no folder to train on: rename one to train, or give one"
            " of them alone"
        )
    rests = {""} if "" in train & held_out else train & held_out
    placed: _Placed = {}
    for name, inner in below.items():
        folder, _, rest = inner.partition("/")
        role = roles.get(folder)
        if rest and role and role.rest in rests:
            inside = f"{role.rest}/{rest}" if len(rests) > 1 else rest
            placed[name] = role.kind, f"{folder}/", inside
    return placed


def _inner(path: object, below: dict[str, str]) -> _Placed:
    """Place pictures by the folders inside each class; {} if no class holds two parts."""
    roles: dict[str, set[int]] = {}
    for inner in below.values():
        folder, _, rest = inner.partition("/")
        if not rest:
            return {}
        role = _role(rest.split("/", 1)[0]) if "/" in rest else None
        roles.setdefault(folder, set()).update([role.kind] if role and not role.rest else [])
    if not any(0 in kinds and len(kinds) > 1 for kinds in roles.values()):
        return {}
    placed: _Placed = {}
    for name, inner in below.items():
        folder, _, rest = inner.partition("/")
        part, _, picture = rest.partition("/")
        role = _role(part) if picture else None
        if not roles[folder]:
            placed[name] = 0, f"{folder}/", f"{folder}/{rest}"
        elif role and not role.rest:
            placed[name] = role.kind, f"{folder}/{part}/", f"{folder}/{picture}"
    return placed


def _parts(
    base: str, below: dict[str, str], placed: _Placed, tables: list[str]
) -> tuple[dict[Split, Part], tuple[str, ...]]:
    """The parts of placed pictures, of several held-out ones the one that suits best."""
    kinds = sorted({kind for kind, _, _ in placed.values() if kind})
    inside = {
        kind: {name: rest for name, (k, _, rest) in placed.items() if k == kind}
        for kind in (0, *kinds)
    }
    folders = {
        kind: sorted({folder for k, folder, _ in placed.values() if k == kind}) for kind in inside
    }
    # pictures without labels, as many competitions have them in test/, are the second choice
    classes = _folders(inside[0].values())
    with_table = {
        k for k in kinds if any(t.startswith(base + f) for t in tables for f in folders[k])
    }
    labelled = [k for k in kinds if k in with_table or classes & _folders(inside[k].values())]
    chosen = (labelled or kinds)[0]
    listed = {kind: first_few((base + f for f in folders[kind]), 3) for kind in (0, chosen)}
    plural = len(folders[0]) > 1
    kept = {**inside[0], **inside[chosen]}
    note = (
        f"{listed[0]} {'are' if plural else 'is'} the part to train on, {listed[chosen]}"
        f" the one{'s' if len(folders[chosen]) > 1 else ''} held out"
    )
    unused = [inner for name, inner in below.items() if name not in kept]
    if unused:
        note += f"; left out: {_left_out(base, unused, [below[name] for name in kept])}"
    return {
        "train": Part(listed[0], inside[0]),
        "test": Part(listed[chosen], inside[chosen], held_out=True),
    }, (note,)


def _folders(names: Iterable[str]) -> set[str]:
    """The outermost folders, in lower case."""
    return {name.split("/", 1)[0].casefold() for name in names if "/" in name}


def _left_out(base: str, unused: Iterable[str], kept: Iterable[str]) -> str:
    """Counts of pictures by folder: 'val/ (3 pictures), 1 picture beside them'."""
    shared = _folders(kept)
    counts: Counter[str] = Counter()
    for name in unused:
        *folders, _ = name.split("/")
        depth = 2 if folders and folders[0].casefold() in shared else 1
        counts["/".join(folders[:depth])] += 1
    beside = counts.pop("", 0)
    listed = [f"{base}{folder}/ ({count(n, 'picture')})" for folder, n in sorted(counts.items())]
    return first_few(listed + ([f"{count(beside, 'picture')} beside them"] if beside else []))
