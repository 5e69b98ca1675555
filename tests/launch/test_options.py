"""The options of a training, the same on the command line, in TOML and in Python; and its networks,
built once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ganvas
from ganvas.data.reading import Reading
from ganvas.errors import SettingError
from ganvas.gan import Gan, GanFile
from ganvas.runs.request import Request, read_config, to_toml, toml
from ganvas.runs.train_options import TrainArguments, TrainOptions


class TestOptions:
    def test_python_takes_the_options_of_the_command_line(
        self, cli_run: Callable[..., Any]
    ) -> None:
        names = [field.name for field in fields(TrainOptions)]
        assert list(TrainArguments.__annotations__) == names
        shown = cli_run("train", "--help").out
        for name in names:
            assert f"--{name.rstrip('_').replace('_', '-')} " in shown
            assert name in str(ganvas.train.__doc__)

    def test_help_describes_each_option_once_and_in_order(
        self, cli_run: Callable[..., Any]
    ) -> None:
        lines = cli_run("train", "--help").out.splitlines()
        shown = [line.split()[1] for line in lines if line.startswith("│ --")]
        assert len(shown) == len(set(shown)) == 27
        assert shown[:5] == ["--data", "--images", "--epochs", "--minutes", "--seed"]
        assert shown[12:17] == ["--set", "--config", "--out", "--fresh", "--verbose"]
        # in a section of its own
        assert shown[17:] == [f"--{each.name.replace('_', '-')}" for each in fields(Reading)]

    def test_an_unknown_argument_of_python_names_the_nearest(self) -> None:
        unknown: dict[str, Any] = {"sed": 1}
        with pytest.raises(TypeError, match=r"no argument sed: did you mean seed\?"):
            ganvas.train("mlp/tiny", **unknown)

    def test_a_config_file_takes_all_but_the_folder_of_the_data(self, tmp_path: Path) -> None:
        given = {
            "data": "mnist-5k", "epochs": 2.5, "seed": 7, "size": (14, 20), "fit": "pad",
            "channels": 3, "flip": False, "device": "cpu", "precision": "32", "threads": 2,
            "processes": 1, "range": (0.0, 4095.0), "label_column": "dx", "zip_encoding": "gbk",
            "pages": "all", "frames": "first", "max_megapixels": 12.5,
            "evaluate_every": "never", "from_": "digits", "recipe": "mlp/relu",
        }  # fmt: skip
        request = Request(**given)
        path = tmp_path / "my.toml"
        path.write_text(to_toml(request))
        assert read_config(path, None) == request
        path.write_text("data_dir = 'x'\n")
        with pytest.raises(SettingError, match="data_dir: give --data-dir"):
            read_config(path, None)

    def test_a_value_is_toml_in_one_line(self) -> None:
        value = {"start": 1e-8, "per": 'a "\x7f\n', "betas": (0.5, 1), "end": None, "on": True}
        line = toml(value)
        assert "\n" not in line
        del value["end"]
        assert tomllib.loads(f"v = {line}")["v"] == value | {"betas": [0.5, 1]}


class TestBuilds:
    @pytest.fixture
    def builds(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The seeds of all networks that are built."""
        seeds: list[int] = []
        build = GanFile.build

        def counted(self: GanFile, config: Any, spec: Any, seed: int = 0) -> Gan:
            seeds.append(seed)
            return build(self, config, spec, seed)

        monkeypatch.setattr(GanFile, "build", counted)
        return seeds

    @pytest.mark.parametrize(
        ("words", "seeds"),
        [
            ("train mlp/tiny --images 32 --seed 3 --threads 1", [3]),
            ("train mlp/tiny --images 32 --seed 3", [3, 0]),  # to time threads
            ("show mlp/tiny", [0]),
            ("bench mlp/tiny --seconds 0.01 --threads 1", [0, 0]),
            ("data inspect mnist-5k --recipe mlp/tiny", [0, 0]),
        ],
    )
    def test_networks_are_built_once_and_throwaway_copies_where_steps_are_measured(
        self, words: str, seeds: list[int], builds: list[int], cli_run: Callable[..., Any]
    ) -> None:
        done = cli_run(*words.split())
        assert done.code == 0, done.err
        assert builds == seeds

    def test_resuming_builds_them_once(
        self, builds: list[int], cli_run: Callable[..., Any], stop_after: Callable[[int], None]
    ) -> None:
        stop_after(2)
        command = ("train", "mlp/tiny", "--images", "64", "--threads", "1", "--out", "run")
        assert cli_run(*command).code == 130
        builds.clear()
        assert cli_run(*command).code == 0
        assert builds == [0]
