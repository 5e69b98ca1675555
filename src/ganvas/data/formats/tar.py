"""Tar archives, plain or compressed: regular files alone, read to memory under limits."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from ganvas.data.formats import limits
from ganvas.data.formats.limits import Files
from ganvas.data.formats.packed import unpacking
from ganvas.data.formats.zip_names import decoded_names
from ganvas.errors import DataError
from ganvas.system.text import is_utf8, printable

_BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def tar_members(path: Path, encoding: str | None = None) -> Files:
    """The regular files in a tar. Those of a compressed one are held in memory.

    encoding: of names that are not UTF-8; by default found from them.
    Raises DataError for a tar that is damaged, holds links, devices or names that leave it, or
    exceeds the limits.
    """
    names: list[str] = []
    openers = []
    try:
        with open(path, "rb") as file:
            for info, held in _entries(path, file):
                names.append(info.name)
                openers.append(
                    partial(_slice, path, info.offset_data, info.size)
                    if held is None
                    else partial(io.BytesIO, held)
                )
    except RecursionError:
        raise DataError(f"{path} is damaged (endless headers): fetch it again") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged or no tar ({reason}): fetch it again") from None
    decoded, note = decoded_names(path, _raw_names(names), encoding)
    decoded = [name.removeprefix("./") for name in decoded]
    limits.check_members(path, decoded)
    files = Files(zip(decoded, openers, strict=True))
    files.notes = note
    return files


def _entries(path: Path, file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Yield each visible regular file, with its content if the tar is compressed."""
    packed = limits.size_of(file)
    unpack = unpacking(file)
    stream = unpack or file
    most = packed
    if unpack:
        most = max(limits.RATIO_FLOOR, limits.MAX_RATIO * packed)
        most = min(most, limits.MAX_ARCHIVE_BYTES)
    bounded = cast(BinaryIO, _Bounded(path, stream, most))
    number = total = 0
    # other bytes than UTF-8 arrive as surrogates
    with tarfile.open(fileobj=bounded, mode="r:", tarinfo=_Strict, encoding="utf-8") as archive:
        for info in archive:
            archive.members = []  # type: ignore[attr-defined] # keeps memory small
            number += 1
            limits.check_number(path, number)
            if info.isdir() or limits.is_hidden(info.name.removeprefix("./")):
                continue
            if not info.isreg() or info.issparse():
                kind = "a sparse file" if info.issparse() else "a link or device"
                raise DataError(f"{path} holds {kind}, {printable(info.name)}: repack it without")
            total += info.size
            limits.check_total(path, total)
            if not unpack:
                yield info, None
                continue
            limits.check_memory(str(path), total)
            content = archive.extractfile(info)
            assert content is not None
            yield info, content.read()


def _slice(path: Path, offset: int, size: int) -> BinaryIO:
    if size > limits.MAX_FILE:
        raise OSError(f"larger than {limits.MAX_FILE // 2**30} GiB")
    with open(path, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise OSError("the archive ends within it")
    return io.BytesIO(content)


def _raw_names(names: list[str]) -> list[str | bytes]:
    """The names, or the bytes of all if any is not UTF-8."""
    if all(map(is_utf8, names)):
        return [*names]
    return [name.encode("utf-8", "surrogateescape") for name in names]


class _Bounded:
    """A stream that refuses to be read or moved past `most` bytes."""

    def __init__(self, path: Path, stream: BinaryIO, most: int) -> None:
        self.path, self.stream, self.most = path, stream, most

    def read(self, size: int = -1) -> bytes:
        left = self.most + 1 - self.stream.tell()
        content = self.stream.read(left if size < 0 else min(size, left))
        self._check(self.stream.tell())
        return content

    def seek(self, position: int, whence: int = 0) -> int:
        assert whence == 0
        self._check(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()

    def _check(self, position: int) -> None:
        if position <= self.most:
            return
        if isinstance(self.stream, io.BufferedReader):
            raise tarfile.ReadError("unexpected end of data")
        limits.check_total(self.path, position)
        raise DataError(
            f"{self.path} expands more than {limits.MAX_RATIO}-fold, to over"
            f" {self.most / 2**20:,.0f} MiB, as bombs do: pack it with less compression"
        )


class _Strict(tarfile.TarInfo):
    """Refuses damaged headers, at which tarfile would end without a word."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Strict:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
