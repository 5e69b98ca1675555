"""ganvas compare: results of one protocol in a table, and a refusal that names what differs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganvas.commands.options import print_table
from ganvas.errors import MetricError
from ganvas.evaluation import history
from ganvas.evaluation.result import (
    COMPARED,
    EvaluationResult,
    Scores,
    mean_and_spread,
    raise_if_incomparable,
)
from ganvas.runs.run import Run
from helpers import paged
from helpers.common import train
from helpers.judged import evaluate_pooled

pytestmark = pytest.mark.usefixtures("steady", "cache")

PROTOCOL = dataclasses.replace(paged.PROTOCOL, n_prdc=500, seed=0)


def made(fid: float | None = 1.5, **protocol: Any) -> EvaluationResult:
    return EvaluationResult(
        source="some",
        kind="images",
        fid=fid,
        kid=0.25,
        kid_std=0.125,
        floor=Scores(fid=0.75),
        protocol=dataclasses.replace(PROTOCOL, **protocol),
    )


def saved(name: str, one: EvaluationResult) -> str:
    Path(name).write_text(one.to_json())
    return name


class TestTable:
    def test_files_and_runs_beside_each_other(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[..., Path]
    ) -> None:
        paths = [copy(tiny_run, name) for name in ("one", "two")]
        results = [evaluate_pooled(path, seed=seed, n=60) for seed, path in enumerate(paths)]
        file = saved("third.json", evaluate_pooled(tiny_run.generator_file, seed=7, n=60))
        done = cli_run("compare", *paths, file)
        assert (done.code, done.err) == (0, "")
        for name in (
            *paths,
            file,
            "FID",
            "KID",
            "floor",
            "coverage",
            "pooled",
            "60 judged against 1,000",
        ):
            assert str(name) in done.out
        assert f"{results[0].fid:.4g}" in done.out
        result = json.loads(cli_run("compare", *paths, "--json").out)
        assert [result["results"][str(path)]["fid"] for path in paths] == [
            one.fid for one in results
        ]

    def test_floors_that_differ_are_each_shown(self, cli_run: Callable[..., Any]) -> None:
        one, two = made(), dataclasses.replace(made(), floor=Scores(fid=0.5))
        out = cli_run("compare", saved("one.json", one), saved("two.json", two)).out
        table = [line.split() for line in out.splitlines()]
        assert [
            "one.json",
            "two.json",
            "floor",
            "of",
            "one.json",
            "floor",
            "of",
            "two.json",
            "better",
        ] in table
        assert ["FID", "1.5", "1.5", "0.75", "0.5", "lower"] in table

    def test_what_evaluate_prints_as_json_can_be_read_again(
        self, cli_run: Callable[..., Any], tiny_run: Run
    ) -> None:
        done = cli_run("evaluate", tiny_run.generator_file, "--n", 150, "--json")
        Path("a.json").write_text(done.out)
        assert history.last_result("a.json").fid == json.loads(done.out)["fid"]
        assert cli_run("compare", "a.json", "a.json").code == 0

    def test_a_runs_last_evaluation_counts(
        self, tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(tiny_run)
        for n in (40, 60):
            evaluate_pooled(path, n=n)
        assert history.last_result(path).protocol.n_fake == 60

    def test_another_seed_or_version_is_the_same_protocol_but_versions_get_a_note(
        self, cli_run: Callable[..., Any]
    ) -> None:
        one, two = (
            saved("one.json", made()),
            saved("two.json", made(2.5, seed=9, versions={"torch": "2.7"})),
        )
        done = cli_run("compare", one, two)
        assert done.code == 0
        assert "note: one.json and two.json were evaluated with different versions" in done.out
        assert "torch 2.6 and 2.7" in done.out

    def test_different_samplings_are_noted_of_each(self, cli_run: Callable[..., Any]) -> None:
        two = dataclasses.replace(made(2.5), seeds=3, spread=Scores(kid=0.5))
        out = cli_run("compare", saved("one.json", made()), saved("two.json", two)).out
        assert "note: one.json: seed 0" in out
        assert "note: two.json: means and ± over 3 seeds from 0" in out
        alone = cli_run("compare", saved("two.json", two)).out
        assert "note:" not in alone
        assert "means and ± over 3 seeds from 0; " in alone

    def test_missing_scores_are_dashes(self, cli_run: Callable[..., Any]) -> None:
        done = cli_run("compare", saved("one.json", made()), saved("two.json", made(None)))
        assert ["FID", "1.5", "-", "0.75", "lower"] in [
            line.split() for line in done.out.splitlines()
        ]

    @pytest.mark.usefixtures("cache")
    def test_a_generator_that_was_trained_further_since_gets_a_note(
        self, cli_run: Callable[..., Any], half_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        path = copy(half_run)
        evaluate_pooled(path, n=20)
        assert "trained further" not in cli_run("compare", path).out
        train("cgan/tiny", path, images=320.0, seed=7)
        assert f"{path} was trained further since it was evaluated" in cli_run("compare", path).out


class TestRefusal:
    @pytest.mark.parametrize("name", COMPARED)
    def test_each_part_of_the_protocol_counts(self, name: str) -> None:
        value = getattr(PROTOCOL, name)
        other = made(**{name: f"c{value}" if isinstance(value, str) else (value or 0) + 1})
        with pytest.raises(
            MetricError, match="cannot be compared, their protocols differ"
        ) as caught:
            raise_if_incomparable([("a", made()), ("b", made()), ("c", other)])
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("a and c cannot")
        assert str(caught.value).count(";") == 1

    @pytest.mark.parametrize("side", ["real_files", "fake_files"])
    def test_files_that_lose_something_count(self, side: str) -> None:
        def compare(one: str, two: str) -> None:
            results = [made(**{side: files}) for files in (one, two)]
            raise_if_incomparable([("one", results[0]), ("two", results[1])])

        for alike in ("array", "generator", "BMP 60.0%, PNG 40.0%", "PNG 99.5%, JPEG 0.5%"):
            compare("PNG", alike)
        for unknown in ("PNG", "JPEG"):
            compare(unknown, "unknown")  # as results of older versions are
        with pytest.raises(MetricError, match=r"files of the .* images PNG and JPEG; evaluate"):
            compare("PNG", "JPEG")
        with pytest.raises(MetricError, match=r"protocols differ"):
            compare("JPEG", "PNG 50.0%, lossy WebP 50.0%")

    def test_it_is_one_line_that_names_every_difference(self, cli_run: Callable[..., Any]) -> None:
        one = saved("one.json", made())
        two = saved("two.json", made(n_fake=9, extractor="self:photos", extractor_sha256="d" * 64))
        error = cli_run("compare", one, two).error
        assert "extractor digits aaaaaaaa and self:photos dddddddd" in error
        assert "n_fake 500 and 9" in error
        assert "n_real" not in error

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"fid": 3}', '{"fid": "low"}', "\x00\xff"])
    def test_a_file_that_is_no_result(self, content: str, cli_run: Callable[..., Any]) -> None:
        Path("bad.json").write_text(content)
        assert (
            "bad.json is no result of ganvas evaluate --json"
            in cli_run("compare", "bad.json").error
        )

    def test_runs_that_are_missing_damaged_or_not_evaluated(
        self, cli_run: Callable[..., Any], tiny_run: Run, copy: Callable[[Run], Path]
    ) -> None:
        assert "cannot read missing.json" in cli_run("compare", "missing.json").error
        assert "nothing to compare" in cli_run("compare").error
        path = copy(tiny_run, "a run")
        assert (
            f"has not been evaluated: do so with ganvas evaluate '{path}'"
            in cli_run("compare", path).error
        )
        (path / "metrics.jsonl").write_text("[1]\n")
        assert "metrics.jsonl is damaged" in cli_run("compare", path).error


def test_seeds_become_means_and_what_one_lacks_is_lacking() -> None:
    each = [
        Scores(fid=1.0, recall=0.5, per_class={"a": 0.5, "b": None}),
        Scores(fid=3.0, per_class={"a": 1.0, "b": None}),
    ]
    means, spread = mean_and_spread(each)
    assert means == Scores(fid=2.0, per_class={"a": 0.75, "b": None})
    assert spread == Scores(fid=pytest.approx(2**0.5))
    assert mean_and_spread(each[:1]) == (each[0], None)


def test_numbers_are_never_broken_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    row = [f"runs/{'x' * 70}", *["0.00109 ± 0.0005001"] * 8]
    print_table(["", *["label accuracy"] * 8], [row])
    out = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    assert (
        out.split().count("0.00109")
        == out.split().count("0.0005001")
        == out.split().count("accuracy")
        == 8
    )
