"""`ganvas report`: a run on one page that stands alone."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganvas.runs.run import Run
from ganvas.system import files
from ganvas.views import report
from ganvas.views.diagnosis import examine
from helpers.common import MY_GAN, train
from helpers.paged import PROTOCOL, judgement, page, put


class TestPage:
    def test_a_finished_run(
        self, tiny_run: Run, copy: Callable[[Run], Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(tiny_run)
        done = cli_run("report", path)
        assert (done.code, done.out) == (0, f"{path}/report.html\n")
        found = page(path / "report.html")
        head = found.sections["header"]
        for words in (
            "finished",
            "cgan/tiny",
            "mnist-5k: 4,000 images, 28x28x1, 10 classes",
            "320 of 320 planned",
        ):
            assert words in head
        assert len(found.photos) == 1 + 2 + 1 + 1  # a row, sheets, neighbours, real images
        assert "one" not in found.sections["samples"]
        assert "160 images, epoch 0.04" in found.sections["samples"]
        assert [re.findall(r"(?:: |; )(.*?) from", chart) for chart in found.charts] == [
            ["D loss", "G loss"],
            ["real images", "generated images"],
            ["D accuracy"],
            ["samples"],
        ]
        assert "has not been evaluated" in found.sections["report-card"]
        assert ["ganvas", "evaluate", str(path), "--copies"] in found.commands
        assert tiny_run.card.data.fingerprint in found.sections["data"]
        for words in ("seed7", "threads1", "precision32", str(torch.__version__)):
            assert words in re.sub(r"\s+", "", found.sections["environment"])
        assert Run.open(path).sampler()  # it is a run as before

    def test_the_row_shows_each_class_as_sample_makes_them(
        self, tiny_run: Run, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        found = page(report.write_report(tiny_run, tmp_path / "page.html"))
        data = (found.all("img")[0]["src"] or "").partition(",")[2]
        row = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        cli_run(
            "sample",
            tiny_run.path,
            "--labels",
            "0123456789",
            "--seed",
            7,
            "--scale",
            2,
            "--out",
            "row.png",
        )
        with Image.open("row.png") as picture:
            images = np.asarray(picture).reshape(56, 10, 56)
        shown = np.stack([row[:, k * 58 : k * 58 + 56] for k in range(10)], 1)
        assert (shown == images).all()

    def test_changed_settings_are_marked_beside_the_recipes_own(self, tmp_path: Path) -> None:
        run = train("cgan/tiny", tmp_path / "run", images=32.0, settings={"lr": 0.0005})
        found = page(report.write_report(run))
        assert re.findall(r"<mark>(.*?)</mark>.*?<td>(.*?)</td>", found.html) == [
            ("&#34;32 images&#34;", "&#34;512 images&#34;"),
            ("0.0005", "0.001"),
        ]
        assert "model.g_widths" in found.sections["recipe"]

    def test_the_command_repeats_the_run(
        self, tiny_run: Run, copy: Callable[..., Path], cli_run: Callable[..., Any]
    ) -> None:
        path = copy(tiny_run, "a run")
        found = page(report.write_report(Run.open(path)))
        again = next(each for each in found.commands if "--config" in each)
        assert cli_run(*again[1:]).code == 0
        assert (
            path.parent / "a run-again" / "generator.safetensors"
        ).read_bytes() == tiny_run.generator_file.read_bytes()
        shown = re.search(r"<details>.*?<code>(.*?)</code>", found.html, re.DOTALL)
        assert shown is not None
        assert json.loads(shown[1].replace("&#34;", '"')) == json.loads(tiny_run.card.to_json())
        for command in found.commands:
            assert command[0] == "ganvas"

    def test_its_commands_name_the_data_folder(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        found = page(report.write_report(run, data_dir=Path("my data")))
        for verb in ("train", "evaluate", "report"):
            command = next(command for command in found.commands if command[1] == verb)
            assert command[command.index("--data-dir") + 1] == "my data"

    def test_the_same_run_makes_the_same_page(self, tiny_run: Run, tmp_path: Path) -> None:
        pages = [
            report.write_report(tiny_run, tmp_path / name).read_bytes()
            for name in ("a.html", "b.html")
        ]
        assert pages[0] == pages[1]

    def test_names_are_escaped(self, tmp_path: Path) -> None:
        """Names of classes, data and run that try to inject markup."""
        folder = tmp_path / '"><img src=x onerror=alert(1)>'
        folder.mkdir()
        evil = "<script>alert(1)</script>"
        for k in range(8):
            Image.fromarray(np.full((8, 8), 30 * k, np.uint8)).save(folder / f"{k}.png")
        rows = "\n".join(f"{k}.png,{evil if k % 2 else 'b & c'}" for k in range(8))
        (folder / "labels.csv").write_text(f"file,label\n{rows}\n")
        run = train("cgan/tiny", tmp_path / "<b>run", data=str(folder), images=32.0)
        hostile = judgement(run, per_class={evil: 0.5}, notes=(evil,), protocol=PROTOCOL)
        put(run, hostile)
        found = page(report.write_report(run))
        assert evil in found.sections["report-card"]
        assert evil in (found.all("img")[0]["alt"] or "")
        assert "<b>run" in found.sections["header"]
        assert "onerror=alert(1)>" in found.sections["data"]
        assert "b & c" in found.sections["header"]

    def test_it_is_small_whatever_is_on_the_sheets(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        """Noise does not compress."""
        path, rng = copy(tiny_run), np.random.default_rng(0)
        noise = Image.fromarray(rng.integers(0, 256, (700, 600, 3), np.uint8))
        for name in ["real_images", "neighbours", *(f"samples/{k:09d}" for k in range(1, 9))]:
            noise.save(path / f"{name}.png", compress_level=1)
        found = page(report.write_report(Run.open(path)))
        assert len(found.photos) == 9
        assert "6 of 10 sheets" in found.sections["samples"]
        captions = re.findall(r"<figcaption>([\d,]+) images, epoch", found.html)
        assert (captions[0], captions[-1]) == ("1", "320")

    def test_transparent_pictures_are_on_white(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(tiny_run)
        Image.new("RGBA", (30, 20)).save(path / "samples" / "000000001.png")
        found = page(report.write_report(Run.open(path)))
        data = (found.all("img")[1]["src"] or "").partition(",")[2]
        assert np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).min() == 255


class TestDoctor:
    def test_its_findings_with_evidence_and_command(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        lines = run.read_log()
        (run.path / "log.jsonl").write_text(
            "".join(json.dumps(line | {"d_loss": 1e9}) + "\n" for line in lines)
        )
        found, diagnosis = page(report.write_report(run)), examine(run)
        assert diagnosis.findings[0].state == "exploding gradients"
        for finding in diagnosis.findings:
            assert finding.state in found.sections["doctor"]
            assert finding.evidence in found.sections["doctor"]
            assert shlex.split(finding.command) in found.commands

    def test_a_training_that_diverged(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        run = Run.open(copy(tiny_run))
        last = run.read_log()[-1]
        run.append_log(
            [last | {"images": 352, "step": 22, "d_loss": float("nan"), "g_loss": float("inf")}]
        )
        found = page(report.write_report(run))
        assert "NaN" in found.sections["doctor"]
        assert not any("nan" in chart or "inf" in chart for chart in found.charts)


class TestStates:
    def test_stopped_and_going_on(self, half_run: Run, copy: Callable[[Run], Path]) -> None:
        run = Run.open(copy(half_run))
        assert "stopped at 45%" in page(report.write_report(run)).sections["header"]
        with run.locked():
            assert "training now, 45%" in page(report.write_report(run)).sections["header"]

    def test_nothing_yet(self, tiny_run: Run, tmp_path: Path) -> None:
        run = Run.create(tmp_path / "run", tiny_run.card)
        found = page(report.write_report(run))
        assert "stopped at 0%" in found.sections["header"]
        assert "No generator has been saved yet" in found.sections["header"]
        assert "No sheets of samples" in found.sections["samples"]
        assert "log is still empty" in found.sections["curves"]
        assert found.all("img") == []

    def test_no_classes(self, unconditional_run: Run, tmp_path: Path) -> None:
        found = page(report.write_report(unconditional_run, tmp_path / "page.html"))
        assert "of the classes" not in found.sections["header"]
        assert found.all("img")[0]["alt"] == "10 generated images"

    def test_a_gan_file_of_the_users(
        self, pictures: Path, tmp_path: Path, cli_run: Callable[..., Any]
    ) -> None:
        (tmp_path / "my_gan.py").write_text(MY_GAN)
        train("my_gan.py:two", tmp_path / "run", data=str(pictures), settings={"batch": 4})
        assert cli_run("report", "run").code == 0
        found = page(Path("run/report.html"))
        assert "add --gan" in found.sections["header"]
        assert "changed settings are not marked" in found.sections["recipe"]
        assert ["ganvas", "report", "run", "--gan", "PATH/my_gan.py"] in found.commands
        assert cli_run("report", "run", "--gan", "my_gan.py").code == 0
        found = page(Path("run/report.html"))
        assert "Seed 0" in found.sections["header"]
        assert ">4</mark>" in found.html
        again = next(each for each in found.commands if "--config" in each)
        assert again[2] == "my_gan.py:two"
        assert cli_run(*again[1:]).code == 0
        assert (
            Path("run-again/generator.safetensors").read_bytes()
            == Path("run/generator.safetensors").read_bytes()
        )
        (tmp_path / "my_gan.py").write_text(MY_GAN + "\n# changed\n")
        assert cli_run("report", "run", "--gan", "my_gan.py").code == 0
        assert "has changed since training" in page(Path("run/report.html")).sections["recipe"]

    def test_weights_that_are_not_finite(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        run = Run.open(copy(tiny_run))
        weights = run.sampler().gan.generator.state_dict()
        run.save_generator(
            {name: t * float("nan") if t.is_floating_point() else t for name, t in weights.items()}
        )
        assert "no longer finite" in page(report.write_report(run)).sections["header"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "content", "answer"),
        [
            ("log.jsonl", b"{}\n", "log.jsonl is damaged"),
            ("metrics.jsonl", b"3\n", "metrics.jsonl is damaged"),
            ("metrics.jsonl", b'{"fid": 1.0, "protocol": 3}\n', "is no result of ganvas evaluate"),
            (
                "metrics.jsonl",
                b'{"fid": 1.0, "protocol": {}, "images": "x"}\n',
                "metrics.jsonl is damaged",
            ),
            ("state.pt", b"text", "state.pt is damaged"),
            ("generator.safetensors", b"text", "generator.safetensors is damaged"),
            ("recipe.json", b"{", "recipe.json is damaged"),
            ("samples/000000320.png", b"text", "000000320.png is damaged or not a PNG"),
            ("neighbours.png", b"text", "neighbours.png is damaged or not a PNG"),
        ],
    )
    def test_a_damaged_file_is_named_and_the_earlier_report_stays(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        name: str,
        content: bytes,
        answer: str,
    ) -> None:
        path = copy(tiny_run)
        before = report.write_report(Run.open(path)).read_bytes()
        (path / name).write_bytes(content)
        assert answer in cli_run("report", "run").error
        assert (path / "report.html").read_bytes() == before

    def test_only_a_report_is_written_over(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        (tmp_path / "mine.html").write_text("<p>mine</p>")
        (tmp_path / "folder.html").mkdir()
        assert (
            "exists and is not a ganvas report"
            in cli_run("report", tiny_run.path, "--out", "mine.html").error
        )
        assert "is a folder" in cli_run("report", tiny_run.path, "--out", "folder.html").error
        assert "ends in .html" in cli_run("report", tiny_run.path, "--out", "page.pdf").error
        assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
        for _ in range(2):
            assert (
                cli_run("report", tiny_run.path, "--out", "deep/page.html").out
                == "deep/page.html\n"
            )

    def test_a_disk_that_refuses(
        self,
        tiny_run: Run,
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", refuse)
        assert "the disk is full" in cli_run("report", tiny_run.path, "--out", "page.html").error
        assert list(tmp_path.iterdir()) == []

    def test_a_path_that_is_not_a_run(
        self, tiny_run: Run, cli_run: Callable[..., Any], tmp_path: Path
    ) -> None:
        assert "no run elsewhere" in cli_run("report", "elsewhere").error
        assert "is not a run" in cli_run("report", tmp_path).error
        assert (
            "leave --gan out"
            in cli_run("report", tiny_run.path, "--gan", "x.py", "--out", "page.html").error
        )
        assert list(tmp_path.iterdir()) == []
