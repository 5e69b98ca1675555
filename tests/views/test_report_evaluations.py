"""`ganvas report`: evaluations, and the commands that repeat them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ganvas.evaluation.evaluate import evaluate
from ganvas.evaluation.result import GanTrain
from ganvas.runs.run import Run
from ganvas.views import report
from helpers.judged import Pooled, digits, npz
from helpers.paged import COPIES, PROTOCOL, judgement, page, put


class TestJudged:
    def test_figures_floor_protocol_and_caveats(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        put(run, judgement(run, gan_train=GanTrain(fakes=0.812, reals=0.934, images=500)))
        found = page(report.write_report(run))
        card = found.sections["report-card"]
        for words in (
            "1.234",
            "0.7531",
            "0.25 ± 0.125",
            "0.6123",
            "a" * 64,
            "b" * 64,
            "rough: few images",
            "3: 50.0%, 7: 97.5%",
            "0.812",
            "0.934",
        ):
            assert words in card
        assert "FID" in found.sections["header"]
        assert "trained further" not in card
        assert [
            "ganvas",
            "evaluate",
            str(run.path),
            "--n",
            "500",
            "--data",
            "a b",
        ] in found.commands

    def test_its_command_repeats_the_evaluation_from_anywhere(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path, real = copy(tiny_run), digits("test").rows(torch.arange(150))
        npz(Path("real.npz"), real.images, real.labels)
        assert (
            cli_run("extractor", "mnist-5k", "--epochs", 0.05, "--out", "mine.safetensors").code
            == 0
        )
        options = (
            "--against real.npz --extractor mine.safetensors --n 40 --prdc-n 30 --seed 5 --seeds 2"
            " --size 28"
        )
        assert cli_run("evaluate", path, *options.split()).code == 0
        found = page(report.write_report(Run.open(path)))
        again = next(command for command in found.commands if "--prdc-n" in command)
        (path.parent / "elsewhere").mkdir()
        monkeypatch.chdir(path.parent / "elsewhere")
        assert cli_run(*again[1:]).code == 0
        first, second = Run.open(path).read_metrics()
        assert first == second
        assert first["protocol"]["extractor"] == "mine.safetensors"

    def test_an_evaluation_that_no_command_repeats_says_why(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        options: dict[str, Any] = {"n": 40, "quiet": True, "extractor": Pooled().extractor()}
        because = "cannot be repeated by a command, because its extractor was an object of Python's"
        evaluate(run, **options)
        assert f"{because}." in page(report.write_report(run)).sections["repeat"]
        evaluate(run, k=3, **options)
        assert (
            f"{because} and precision to coverage were taken with k = 3"
            in page(report.write_report(run)).sections["repeat"]
        )
        put(run, judgement(run, asked=None))
        found = page(report.write_report(run))
        assert "an earlier version of ganvas did not save its options" in found.sections["repeat"]
        assert not any(
            command[1] == "evaluate" and "--copies" not in command for command in found.commands
        )

    def test_metrics_over_training_of_one_protocol(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        run = Run.open(copy(tiny_run))
        other = dataclasses.replace(PROTOCOL, n_fake=50)
        for images, fid, protocol in (
            (80, 9.75, other),
            (160, 30.0, PROTOCOL),
            (240, 20.0, PROTOCOL),
            (320, 25.0, PROTOCOL),
        ):
            put(
                run,
                judgement(run, fid=fid, protocol=protocol, weights_sha256=f"{images:064}"),
                images,
            )
        run.best_file.write_bytes(b"")
        found = page(report.write_report(run))
        fid, precision = found.charts[4:]
        assert "generated from 30 to 25, between 20 and 30; floor from 0.753 to 0.753" in fid
        assert "precision from 0.612" in precision
        assert "1 under other protocols are not drawn" in found.sections["curves"]
        assert "FID 20 after 240 images, in best.safetensors" in found.sections["header"]
        for words in ("evaluated during training", "trained further since", "9.75"):
            assert words in found.sections["report-card"]

    @pytest.mark.parametrize(
        ("lines", "shown"),
        [
            ([(None, 11.0, True), (320, 12.0, True)], 11.0),  # more images before fewer
            # the generator as it is before an earlier one
            ([(None, 11.0, False), (320, 12.0, True)], 12.0),
            ([(None, 11.0, True), (None, 12.0, True)], 12.0),  # the newest
            ([(None, 11.0, False), (160, 12.0, False)], 11.0),
        ],
    )
    def test_which_evaluation_is_the_card(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        lines: list[tuple[int | None, float, bool]],
        shown: float,
    ) -> None:
        run = Run.open(copy(tiny_run))
        for images, fid, of_now in lines:
            put(
                run,
                judgement(run, fid=fid, **({} if of_now else {"weights_sha256": "c" * 64})),
                images,
            )
        found = page(report.write_report(run))
        assert f"{shown:.4g} (floor 0.7531)" in found.sections["header"]
        assert ("trained further" in found.sections["report-card"]) == (
            not any(now for *_, now in lines)
        )

    def test_copies_and_their_sheet(self, tiny_run: Run, copy: Callable[[Run], Path]) -> None:
        run = Run.open(copy(tiny_run))
        Image.new("L", (40, 30)).save(run.closest_file)
        put(run, judgement(run, copies=COPIES))
        found = page(report.write_report(run))
        text = " ".join(found.sections["copy-check"].split())
        assert "not a copier: generated images are 0.988 ± 0.012 times as far" in text
        assert "1.1% of the generated images count as copies; so do 0.2% of the held-out" in text
        assert "earlier generator" not in text
        assert (40, 30) in [(int(i["width"] or 0), int(i["height"] or 0)) for i in found.all("img")]
        put(run, judgement(run, copies=dataclasses.replace(COPIES, yardstick="training")))
        by_training = " ".join(page(report.write_report(run)).sections["copy-check"].split())
        assert "unseen real images are" in text
        assert "unseen" not in by_training
        assert "as training images are from one another (1" in by_training
        run.closest_file.unlink()  # then what training left is there to be looked at
        put(run, judgement(run, copies=None))
        found = page(report.write_report(run))
        assert "not a copier" in found.sections["copy-check"]
        assert "training image nearest in pixels" in found.sections["copy-check"]

    def test_a_sheet_elsewhere_is_not_read(
        self, tiny_run: Run, copy: Callable[[Run], Path], tmp_path: Path
    ) -> None:
        """A run may come from anyone, so no file outside it may come to the page."""
        run = Run.open(copy(tiny_run))
        Image.new("L", (41, 31)).save(tmp_path / "secret.png")
        elsewhere = dataclasses.replace(COPIES, sheet=str(tmp_path / "secret.png"))
        put(run, judgement(run, copies=elsewhere))
        found = page(report.write_report(run))
        assert "41" not in [image["width"] for image in found.all("img")]

    def test_evaluate_judges_first(
        self,
        tiny_run: Run,
        copy: Callable[[Run], Path],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = copy(tiny_run)
        # 10,000 would take half a minute
        fewer: dict[str, Any] = {"n": 60, "extractor": Pooled().extractor()}
        monkeypatch.setattr(
            report, "evaluate_run", lambda run, **options: evaluate(run, **fewer, **options)
        )
        assert cli_run("report", path, "--evaluate").code == 0
        found, line = page(path / "report.html"), Run.open(path).read_metrics()[-1]
        assert f"{line['fid']:.4g}" in found.sections["report-card"]
        assert line["copies"]["verdict"] in found.sections["copy-check"]
        assert "n_fake60" in found.sections["report-card"].replace("\n", "")
