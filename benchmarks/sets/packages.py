"""Packages of public registries: fetched by their own clients, and read without being extracted."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from urllib.parse import unquote

from ganvas.errors import RunError
from ganvas.system.text import count, first_few

Source = Literal["Debian", "npm", "PyPI"]

CLIENTS: dict[Source, list[str]] = {
    "Debian": ["apt-get", "download"],
    "npm": ["npm", "pack", "--loglevel=error", "--ignore-scripts"],
    # wheels alone: building another package would run its code
    "PyPI": [
        *(sys.executable, "-m", "pip", "download", "--quiet"),
        "--no-deps",
        "--only-binary",
        ":all:",
    ],
}
ENDINGS: dict[Source, str] = {"Debian": "*.deb", "npm": "*.tgz", "PyPI": "*.whl"}
HINTS: dict[Source, str] = {
    "Debian": "Debian 12 has it; `apt-get update` renews the list of packages",
    "npm": "the registry must be reachable",
    "PyPI": "the registry must be reachable",
}
MAX_MEMBER = 256 * 2**20  # bytes
LICENCES = re.compile(
    r"usr/share/doc/[^/]+/copyright|package/LICEN[CS]E.*|.*\.dist-info/.*LICEN[CS]E.*"
)

_FAILURE = re.compile(
    r"^(?:E:|npm (?:ERR!|error)(?! code)|ERROR:) *(?P<reason>\S.*)$", re.MULTILINE
)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class Archive:
    """A fetched package: its title, such as "fonts-lato 2.0-2.1", and the file that holds it."""

    source: Source
    title: str
    path: Path

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of each file, in the archive's order.

        Raises RunError if the archive is damaged, or a file is larger than MAX_MEMBER.
        """
        try:
            if self.source == "PyPI":
                yield from _zip_members(self.path)
            elif self.source == "npm":
                with open(self.path, "rb") as file:
                    yield from _tar_members(file, "r|gz")
            else:
                with _deb_content(self.path) as file:
                    yield from _tar_members(file, "r|")
        except _DAMAGED as error:
            raise RunError(f"cannot read {self.path.name}: {error or 'it is damaged'}") from None


def fetch(source: Source, names: Sequence[str], folder: Path) -> list[Archive]:
    """Download packages into an empty folder. Returns them sorted by file name.

    names: Debian's packages, or one of npm or PyPI with its version: "name@1.2", "name==1.2".
    Raises RunError if the client is missing or fails.
    """
    _call(CLIENTS[source] + list(names), folder, HINTS[source])
    paths = sorted(folder.glob(ENDINGS[source]))
    if len(paths) != len(names):
        raise RunError(
            f"{CLIENTS[source][0]} brought {count(len(paths), 'package')}"
            f" where {len(names)} were named: {first_few(names)}"
        )
    if source != "Debian":
        return [Archive(source, names[0], paths[0])]
    titles = [" ".join(unquote(path.name).split("_")[:2]) for path in paths]
    return [Archive(source, title, path) for title, path in zip(titles, paths, strict=True)]


def offered(names: Sequence[str], folder: Path) -> list[str]:
    """Those of Debian's packages that this system's lists name, in the order given."""
    # fails if any package is unknown, but prints the others
    done = _run(["apt-cache", "show", "--no-all-versions", *names], folder)
    known = set(re.findall(r"^Package: (\S+)$", done.stdout, re.MULTILINE))
    return [name for name in names if name in known]


def _call(command: list[str], folder: Path, hint: str) -> None:
    done = _run(command, folder)
    if done.returncode:
        found = _FAILURE.search(done.stderr)
        lines = done.stderr.split("\n")
        last = next(
            (line for line in reversed(lines) if line.strip()), f"exit code {done.returncode}"
        )
        reason = found["reason"] if found else last
        raise RunError(f"{_shown(command)} failed: {reason.strip()} ({hint})")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise RunError(_missing(command, error)) from None


def _missing(command: Sequence[str], error: OSError) -> str:
    return (
        f"cannot start {command[0]}: {error.strerror or error};"
        " install it, or make the set on a system that has it"
    )


def _shown(command: list[str]) -> str:
    """The command as far as an error line has room for it."""
    words = [Path(command[0]).name, *command[1:]]
    return " ".join(words[:8]) + (" ..." if len(words) > 8 else "")


@contextmanager
def _deb_content(path: Path) -> Iterator[IO[bytes]]:
    """The tar of a package's files, as a stream. Raises OSError if the package is damaged."""
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise RunError(_missing(command, error)) from None
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout
            while process.stdout.read(2**20):  # padding after the last member
                pass
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise OSError(f"dpkg-deb ended with exit code {process.returncode}")


def _tar_members(file: IO[bytes], mode: Literal["r|", "r|gz"]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for member in tar:
            if member.isfile():
                _check_size(member.name, member.size)
                content = tar.extractfile(member)
                assert content is not None
                yield member.name.removeprefix("./"), content.read()


def _zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as zipped:
        for member in zipped.infolist():
            if not member.is_dir():
                _check_size(member.filename, member.file_size)
                yield member.filename, zipped.read(member)


def _check_size(name: str, size: int) -> None:
    if size > MAX_MEMBER:
        raise RunError(f"{name} has {size:,} bytes: at most {MAX_MEMBER:,} are read")
