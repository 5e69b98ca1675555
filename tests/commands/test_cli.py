"""The command line: instant help, results on stdout and the rest on stderr, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas
from ganvas import cli, gans
from ganvas.training import benchmark
from ganvas.views import demo


def document(done: Any) -> Any:
    """The one JSON document on stdout."""
    assert done.code == 0, done.err
    return json.loads(done.out)


class TestStart:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["train", "--help"],
            ["sample", "--help"],
            ["evaluate", "--help"],
            ["report", "--help"],
            ["--version"],
            [],
        ],
    )
    def test_help_does_without_torch(
        self, arguments: list[str], environment: dict[str, str], tmp_path: Path
    ) -> None:
        program = (
            "import sys\nfrom ganvas import cli\ntry: cli.main(sys.argv[1:])\nexcept SystemExit as"
            " done: assert not done.code, done.code\nheavy = {'torch', 'numpy', 'matplotlib',"
            " 'torchvision', 'tensorboard', 'PIL'} & set(sys.modules)\nassert not heavy, heavy"
        )
        command = [sys.executable, "-W", "error", "-c", program, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert done.stderr == ""

    def test_version(self, cli_run: Callable[..., Any]) -> None:
        assert cli_run("--version").out.strip() == ganvas.__version__

    def test_help_names_every_command_and_option(self, cli_run: Callable[..., Any]) -> None:
        whole = cli_run("--help").out
        for verb in (
            "train",
            "sample",
            "evaluate",
            "compare",
            "report",
            "extractor",
            "doctor",
            "runs",
            "timelapse",
            "tune",
            "recipes",
            "show",
            "bench",
            "data",
            "demo",
            "env",
        ):
            assert verb in whole.split()
        options = (
            "--data --images --epochs --minutes --seed --out --set --config --device --threads"
            " --fresh --size --fit --channels --data-dir --precision --processes --evaluate-every"
            " --flip --from --verbose"
        )
        shown = cli_run("train", "--help").out
        assert [option for option in options.split() if option not in shown] == []
        shown = cli_run("sample", "--help").out
        assert [
            o
            for o in ("--n", "--labels", "--seed", "--out", "--columns", "--scale", "--gan")
            if o not in shown
        ] == []

        shown = cli_run("evaluate", "--help").out
        options = (
            "--data --against --n --extractor --seeds --seed --prdc-n --gan-train --copies --size"
            " --fit --channels --data-dir --gan --device --out --json"
        )
        assert [option for option in options.split() if option not in shown] == []

    def test_as_a_module_and_as_a_command(
        self, ganvas_cli: Callable[..., Any], tmp_path: Path
    ) -> None:
        done = ganvas_cli("train", "mlp/tiny", "--images", 32, "--threads", 1)
        assert (done.code, done.out) == (0, "runs/0001-mlp-tiny-mnist-5k\n")
        assert "Traceback" not in done.err
        assert (tmp_path / done.out.strip() / "generator.safetensors").is_file()

    def test_an_unknown_command_or_option_is_one_line(self, cli_run: Callable[..., Any]) -> None:
        for words in (
            ["trian"],
            ["train", "--sed", "1"],
            ["train", "--seed", "x"],
            ["train", "a", "b"],
            ["sample"],
            ["train", "--seed"],
            ["show", "--json", "--jsn"],
            ["data"],
            ["data", "inspect"],
        ):
            done = cli_run(*words)
            if words == ["data"]:
                assert done.code == 0
            else:
                assert len(done.error) > len("ganvas: ")

    def test_a_bug_of_ours_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ganvas.views import environment

        monkeypatch.setattr(environment, "describe", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli.main(["env"])

    def test_a_reader_that_goes_away_is_no_error(
        self, environment: dict[str, str], tmp_path: Path
    ) -> None:
        command = f"{sys.executable} -m ganvas show cgan/digits | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == ("0\n", "")

    def test_a_full_disk_under_stdout_is_one_line(
        self, environment: dict[str, str], tmp_path: Path
    ) -> None:
        command = "train mlp/tiny --images 32 --threads 1"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "ganvas", *command.split()],
                cwd=tmp_path,
                env=environment,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("ganvas: ")

    def test_a_training_outlives_its_reader(
        self, environment: dict[str, str], tmp_path: Path
    ) -> None:
        """`ganvas train 2>&1 | head`: nobody reads on, and the run is trained and saved all the
        same."""
        command = (
            f"{sys.executable} -m ganvas train mlp/tiny --images 640 --threads 1 --verbose --out"
            " run 2>&1 | head -1"
        )
        subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, timeout=60
        )
        assert ganvas.Run.open(tmp_path / "run").finished


class TestReports:
    def test_env(self, cli_run: Callable[..., Any]) -> None:
        facts = document(cli_run("env", "--json"))
        assert {"ganvas", "python", "torch", "cores", "cache"} <= facts.keys()
        assert facts["ganvas"] == ganvas.__version__
        text = cli_run("env").out
        assert all(name in text for name in facts)

    def test_recipes(self, cli_run: Callable[..., Any]) -> None:
        rows = document(cli_run("recipes", "--json"))
        names = [row["recipe"] for row in rows]
        assert {
            "mlp/relu",
            "mlp/leaky",
            "mlp/batchnorm",
            "cgan/digits",
            "dcgan/64",
            "cgan/tiny",
        } <= set(names)
        assert len(names) == len(set(names))
        assert all(row["summary"] for row in rows)
        text = cli_run("recipes").out
        assert all(name in text for name in names)
        for name in names:
            assert gans.find_recipe(name)[0] == name

    def test_show_counts_parameters(self, cli_run: Callable[..., Any]) -> None:
        shown = document(cli_run("show", "mlp/tiny", "--json"))
        # G: 8 -> 16 -> 64 with BatchNorm over 16; D: 64 -> 16 -> 1
        generator = 8 * 16 + 16 + 2 * 16 + 16 * 64 + 64
        assert shown["parameters"] == {
            "generator": {"trainable": generator, "total": generator + 2 * 16},
            "discriminator": {"trainable": 64 * 16 + 16 + 16 + 1, "total": 64 * 16 + 16 + 16 + 1},
        }
        assert shown["recipe"]["name"] == "mlp/tiny"
        assert shown["recipe"]["train"]["batch"] == 16

    def test_show_lists_what_minutes_change(self, cli_run: Callable[..., Any]) -> None:
        shown = cli_run("show", "r3gan/digits").out
        presets = document(cli_run("show", "r3gan/digits", "--json"))["presets"]
        assert presets["60"]["model.blocks"] == 1
        assert "with --minutes of about 60: model.blocks = 1, train.lr.start = 0.0004" in shown
        assert document(cli_run("show", "mlp/tiny", "--json"))["presets"] == {}
        shown = cli_run("show", "projected/images", "--json")
        assert document(shown)["gpu"]["train.batch"] == 32
        assert "on a GPU: train.batch = 32, " in cli_run("show", "projected/images").out

    def test_show_resolves_settings_and_shapes(
        self, cli_run: Callable[..., Any], pictures: Path
    ) -> None:
        shown = document(
            cli_run(
                "show",
                "cgan/tiny",
                "--json",
                "--set",
                "batch=4",
                "g_widths=[5]",
                "--data",
                pictures,
            )
        )
        assert shown["recipe"]["train"]["batch"] == 4
        assert shown["recipe"]["model"]["g_widths"] == [5]
        assert shown["recipe"]["image"] == {
            "height": 8,
            "width": 8,
            "channels": 1,
            "classes": ["cat", "dog"],
        }
        assert (
            shown["parameters"]["generator"]["trainable"] == 2 * 2 + (8 + 2) * 5 + 5 + 5 * 64 + 64
        )
        shown = document(
            cli_run("show", "dcgan/tiny", "--json", "--size", "20x31", "--channels", "4")
        )
        assert shown["recipe"]["image"] == {"height": 20, "width": 31, "channels": 4, "classes": []}

    def test_show_as_text_has_settings_layers_and_counts(self, cli_run: Callable[..., Any]) -> None:
        done = cli_run("show", "cgan/tiny")
        assert (done.code, done.err) == (0, "")
        assert "train.batch = 16" in done.out
        assert "BatchNorm1d" in done.out
        counts = document(cli_run("show", "cgan/tiny", "--json"))["parameters"]
        assert f"{counts['generator']['trainable']:,}" in done.out

    def test_what_show_prints_can_be_set(self, cli_run: Callable[..., Any]) -> None:
        for recipe in ("mlp/batchnorm", "cgan/digits", "dcgan/repository"):
            first = cli_run("show", recipe).out
            lines = [
                line
                for line in first.splitlines()
                if " = " in line and line.startswith(("model.", "train."))
            ]
            assert len(lines) > 10
            assert cli_run("show", recipe, "--set", *lines).out == first

    def test_inspect(self, cli_run: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
        (pictures / "cat" / "copy.png").write_bytes((pictures / "cat" / "00.png").read_bytes())
        (pictures / "dog" / "broken.png").write_text("no picture")
        report = document(cli_run("data", "inspect", pictures, "--json", "--recipe", "cgan/tiny"))
        expected = {
            "images": 13,
            "unreadable": 1,
            "duplicates": 1,
            "channels": 1,
            "sizes": {"8x8": 13},
            "classes": {"cat": 7, "dog": 6},
        }
        assert {name: report[name] for name in expected} == expected
        assert report["seconds_per_kimg"] > 0
        assert report["peak_rss_mb"] > 50
        with Image.open(tmp_path / "inspect.png") as sheet:
            assert min(sheet.size) > 8
        text = cli_run(
            "data", "inspect", pictures, "--recipe", "cgan/tiny", "--out", "other.png"
        ).out
        assert "broken.png" in text
        assert (tmp_path / "other.png").is_file()

    def test_inspect_names_every_unreadable_file(
        self, cli_run: Callable[..., Any], pictures: Path
    ) -> None:
        for k in range(101):
            (pictures / f"broken{k:03}.png").write_text("no picture")
        text = cli_run("data", "inspect", pictures, "--recipe", "mlp/tiny").out
        assert all(f"broken{k:03}.png: not a PNG" in text for k in range(101))

    def test_inspect_without_a_recipe_takes_the_size_that_training_would(
        self, cli_run: Callable[..., Any], pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = benchmark.Choice(None, 1, "32", 0.01)  # type: ignore[arg-type]
        monkeypatch.setattr(benchmark, "choose", lambda *_, **__: first)  # it takes long
        Image.new("L", (9, 9)).save(pictures / "cat" / "larger.png")
        assert "trained as  64x64 grey" in cli_run("data", "inspect", pictures).out

    def test_bench(self, cli_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        peak = partial(benchmark.matmul_macs_per_second, size=512)
        monkeypatch.setattr(benchmark, "matmul_macs_per_second", peak)
        figures = document(
            cli_run("bench", "mlp/tiny", "--json", "--seconds", "0.05", "--threads", "1")
        )
        assert figures["images_per_second"] > 0
        assert figures["peak_rss_mb"] > 50
        assert 0 < figures["peak_fraction"] < 1
        # A pass of G costs 8*16 + 16*64 multiply-adds an image, one of D 64*16 + 16*1; a backward
        # pass costs as much for the weights, and once more for the inputs of every layer whose
        # input has a gradient.
        g, d = (8 * 16, 16 * 64), (64 * 16, 16)
        fakes_for_d = sum(g)
        # real and fake: forward, weights, inputs (not of the first layer)
        d_step = 2 * (sum(d) + sum(d) + d[1])
        g_step = (
            sum(g) + sum(d) + sum(d) + sum(g) + g[1]
        )  # forward both, through D to its input, weights and inputs of G
        assert figures["macs_per_image"] == fakes_for_d + d_step + g_step

    @pytest.mark.parametrize(
        ("recipe", "settings", "parts"),
        [
            ("mlp/tiny", [], ["batch", "G", "D", "optimizers", "rest"]),
            ("r3gan/tiny", [], ["batch", "G", "D", "penalty", "optimizers", "EMA", "rest"]),
            (
                "r3gan/tiny",
                ["penalty=none", "order=d-first"],
                ["batch", "G", "D", "optimizers", "EMA", "rest"],
            ),
        ],
    )
    def test_the_parts_of_a_step_make_the_step(
        self,
        recipe: str,
        settings: list[str],
        parts: list[str],
        cli_run: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(benchmark, "matmul_macs_per_second", lambda threads: 1e11)
        changes = ["--set", *settings] if settings else []
        figures = document(
            cli_run("bench", recipe, "--json", "--seconds", 0.05, "--threads", 1, *changes)
        )
        assert list(figures["parts"]) == parts
        assert sum(figures["parts"].values()) == pytest.approx(
            figures["batch"] / figures["images_per_second"] * 1e3
        )

    def test_demo(
        self, cli_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(demo, "MAX_FRAMES", 3)
        done = cli_run("demo", "1d", "--steps", "60", "--out", "pictures")
        assert done.code == 0, done.err
        assert done.out.split() == ["pictures/demo-1d.png", "pictures/demo-1d.gif"]
        with Image.open(tmp_path / "pictures" / "demo-1d.png") as image:
            assert len(np.unique(np.asarray(image))) > 10
