"""Damaged files: noticed and named in one line, and left as they are."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from ganvas.errors import RunError
from ganvas.runs.run import Run
from ganvas.runs.weights import open_generator
from helpers.common import TRAIN

pytestmark = pytest.mark.usefixtures("bounded")


def damaged(content: bytes, seed: int) -> bytes:
    """Damage a file: cut it short, empty it, overwrite it, or flip bits."""
    rng = random.Random(seed)
    kind = seed % 5
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind == 1:
        return rng.randbytes(rng.choice([0, 1, 100, len(content)]))
    changed = bytearray(content)
    for _ in range([1, 5, 100][kind - 2]):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    if kind == 2:  # in the beginning, where headers and names are
        changed = bytearray(content)
        changed[rng.randrange(min(len(changed), 2000))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_line_cut_short_does_not_spoil_the_next(
    tiny_run: Run, copy: Callable[[Run], Path]
) -> None:
    """A full disk or a kill leaves such a line of an evaluation."""
    run = Run.open(copy(tiny_run))
    with open(run.path / "metrics.jsonl", "wb") as file:
        file.write(b'{"fid": 0')
    for fid in (1.0, 2.0):
        run.append_metrics(json.dumps({"fid": fid}))
        with open(run.path / "metrics.jsonl", "ab") as file:
            file.write(b'{"fid": 3')
    assert [line["fid"] for line in run.read_metrics()] == [1.0, 2.0]
    run.append_metrics('{"fid": 4}')
    assert [line["fid"] for line in run.read_metrics()] == [1.0, 2.0, 4]


def test_one_evaluation_at_a_time_is_kept(tiny_run: Run, copy: Callable[[Run], Path]) -> None:
    """`ganvas evaluate` may end while a training adds an evaluation."""
    run = Run.open(copy(tiny_run))
    other = threading.Thread(target=run.append_metrics, args=('{"fid": 1.0}',))
    with FileLock(run.path / ".metrics.lock"):
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert run.read_metrics() == []
    other.join(10)
    assert run.read_metrics() == [{"fid": 1.0}]


class TestDamage:
    """A command either works on a damaged file or refuses it in one line."""

    @pytest.mark.parametrize("seed", range(30))
    def test_generator(
        self, seed: int, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        content = damaged(tiny_run.generator_file.read_bytes(), seed)
        (tmp_path / "g.safetensors").write_bytes(content)
        done = cli_run("sample", "g.safetensors", "--labels", "12")
        if done.code:
            assert "g.safetensors" in done.error or "generator" in done.error
            assert not (tmp_path / "result.png").exists()

    def test_a_single_bit_of_any_tensor_is_noticed(
        self,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        state, generator = (
            (path / "state.pt").read_bytes(),
            (path / "generator.safetensors").read_bytes(),
        )
        with zipfile.ZipFile(path / "state.pt") as archive:
            contents = [archive.read(name) for name in archive.namelist() if "/data/" in name]
        assert len(contents) > 30
        for content in contents:
            place = state.index(content) + len(content) // 2
            (path / "state.pt").write_bytes(flipped(state, place))
            with pytest.raises(RunError, match=r"state\.pt is damaged"):
                Run.open(path).load_state()
        before = tree(path)
        assert "state.pt is damaged" in cli_run("train", "--out", path).error
        assert tree(path) == before
        (header,) = struct.unpack_from("<Q", generator)
        for entry in json.loads(generator[8 : 8 + header]).values():
            if "data_offsets" in entry:
                place = 8 + header + sum(entry["data_offsets"]) // 2
                (path / "generator.safetensors").write_bytes(flipped(generator, place))
                assert "generator.safetensors is damaged" in cli_run("sample", path).error

    def test_a_generator_without_a_checksum_is_opened(self, tiny_run: Run, tmp_path: Path) -> None:
        """As earlier versions wrote it."""
        import safetensors.torch

        card = json.loads(tiny_run.card.to_json())
        del card["weights_sha256"]
        tensors = safetensors.torch.load_file(tiny_run.generator_file)
        safetensors.torch.save_file(
            tensors, tmp_path / "g.safetensors", {"ganvas": json.dumps(card)}
        )
        images = open_generator(tmp_path / "g.safetensors")[0](range(3))
        assert torch.equal(images, tiny_run.sampler()(range(3)))

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    @pytest.mark.parametrize("seed", range(20))
    def test_run(
        self,
        seed: int,
        name: str,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        (path / name).write_bytes(damaged((path / name).read_bytes(), seed))
        before = tree(path)
        command = (
            "train",
            "cgan/tiny",
            "--images",
            "320",
            "--seed",
            "7",
            "--threads",
            "1",
            "--out",
            path,
        )
        done = cli_run(*command)
        if (
            done.code and "no longer finite" not in done.error
        ):  # a number may become infinite, a card another training's
            assert str(path) in done.error or name == "recipe.json"
            assert tree(path) == before

    @pytest.mark.parametrize("name", ["state.pt", "recipe.json", "log.jsonl"])
    def test_fresh_helps_as_the_message_says(
        self,
        name: str,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        path = copy(half_run)
        (path / name).write_bytes(b"\xff\xfe\n\n")
        message = cli_run(
            "train", "cgan/tiny", "--images", "320", "--seed", "7", "--out", path
        ).error
        assert name in message
        assert "--fresh" in message
        assert cli_run(*TRAIN, "--out", path, "--fresh").code == 0
        assert (tmp_path / "run.1" / name).read_bytes() == b"\xff\xfe\n\n"

    @pytest.mark.parametrize(
        "line",
        [
            '{"images": 16}',
            "{}",
            "[]",
            "3",
            '"x"',
            '{"images": "x"}',
            '{"images": null}',
            "\ufffd",
            "NaN",
            "[" * 20_000,
        ],
    )
    def test_log_lines_that_are_json_but_no_lines_of_ours(
        self,
        line: str,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        (path / "log.jsonl").write_text(line + "\n" + (path / "log.jsonl").read_text())
        before = tree(path)
        assert "log.jsonl" in cli_run("train", "--out", path).error
        assert tree(path) == before

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: s.clear(),
            lambda s: s.pop("learner"),
            lambda s: s.pop("record"),
            lambda s: s["learner"].pop("generator"),
            lambda s: s["learner"]["generator"].popitem(),
            lambda s: s["learner"]["d_optimizer"]["means"].__setitem__(0, torch.zeros(3)),
            lambda s: s["learner"]["d_optimizer"]["squares"].pop(),
            lambda s: s["learner"]["g_optimizer"]["steps"].fill_(float("nan")),
            lambda s: s["record"].update(recent=[(torch.zeros(8),)]),
            lambda s: s["record"].update(
                recent=[(torch.zeros(3), torch.zeros(8), torch.zeros(8), None)]
            ),
            lambda s: s["record"].update(sheets=3),
            lambda s: s["record"].update(sums=torch.zeros(2)),
            lambda s: s.update(images_seen="x"),
            lambda s: s.update(images_seen=7),
            lambda s: s.update(images_seen=-16),
            lambda s: s.update(format=99),
        ],
    )
    def test_a_state_of_the_wrong_shape(
        self,
        change: Callable[[Any], Any],
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        tree: Callable[[Path], Any],
    ) -> None:
        path = copy(half_run)
        state = torch.load(path / "state.pt", weights_only=True)
        change(state)
        torch.save(state, path / "state.pt")
        before = tree(path)
        assert "state.pt" in cli_run("train", "--out", path).error
        assert tree(path) == before

    @pytest.mark.parametrize("name", ["recipe.json", "log.jsonl"])
    def test_a_file_that_may_not_be_read(
        self,
        name: str,
        half_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path, opened = copy(half_run), io.open

        def refuse(file: Any, *more: Any, **options: Any) -> Any:
            if str(file) == str(path / name):
                raise PermissionError(errno.EACCES, "Permission denied")
            return opened(file, *more, **options)

        monkeypatch.setattr(io, "open", refuse)  # pathlib's
        assert (
            cli_run("train", "--out", path).error
            == f"ganvas: cannot read {path / name}: Permission denied"
        )

    def test_a_state_that_would_run_code(
        self, half_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(path / "ran"),)

        path = copy(half_run)
        torch.save({"format": 1, "images_seen": Evil()}, path / "state.pt")
        assert "state.pt is damaged" in cli_run("train", "--out", path).error
        assert not (path / "ran").exists()
