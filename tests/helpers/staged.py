"""Helpers of the tests of the tables: a figures.py whose ganvas trains nothing, made-up results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

import cells
import figures
import measure
from cells import Cell
from ganvas.evaluation.result import Copies, EvaluationResult, Protocol, Scores
from result import Plain, Result, read_result

ALL = [cell for make in cells.TABLES.values() for cell in make()]

# A ganvas, speed.py and rivals.py that train nothing: it notes its calls, and obeys wishes.json.
STUB = """
import json, sys, time
from pathlib import Path

here, (verb, *words) = Path(__file__).parent, sys.argv[1:]
with open(here / "calls", "a") as file:
    file.write(json.dumps([verb, *words]) + "\\n")
wishes = json.loads((here / "wishes.json").read_text())
fail = wishes["fail"]

def option(name): return words[words.index(name) + 1] if name in words else None
def amount(name): return float(option(name) or 0)

if fail and fail[0] == verb and any(fail[1] in word for word in words):
    sys.exit("ganvas: the disk is full")
if wishes["hang"] == verb:
    (here / "hanging").touch()
    time.sleep(60)
if verb == "train":
    run = Path(option("--out"))
    run.mkdir()  # fails if an earlier training left anything
    images = round(amount("--images") + 60000 * amount("--epochs") + 1000 * amount("--minutes"))
    card = {"model": {"width": 8}, "train": {"batch": 4}, "threads": 2, "precision": "32"}
    card |= {"images": images, "versions": {"torch": "2.9"}}
    (run / "recipe.json").write_text(json.dumps(card))
    print(run)
elif verb == "runs":
    images = json.loads((Path(words[0]) / "recipe.json").read_text())["images"]
    print(json.dumps([{"run": words[0], "state": "finished", "images_seen": images}]))
elif verb == "evaluate":
    names = ("fid", "kid", "precision", "recall", "coverage", "label_accuracy", "modes")
    scores = dict.fromkeys([*names, "reverse_kl"], 0.5)
    named, classes = option("--data") or "own", map(str, range(1000))
    data = "own" if "/" in named else named
    protocol = {
        "extractor": "digits", "extractor_sha256": "ab" * 32, "n_real": 100,
        "n_fake": int(option("--n")), "n_prdc": 100, "k": 5, "n_modes": 26000, "split": "test",
        "resize": "none", "data": data, "real_sha256": data, "seed": 0}
    copies = {
        "verdict": "not a copier", "ratio": 0.98, "spread": 0.01, "share": 0.0,
        "share_held_out": 0.0, "sheet": "/somewhere/copies.png"}
    print(json.dumps({
        **scores, "source": words[0], "floor": {**scores, "per_class": dict.fromkeys(classes, 1.0)},
        "protocol": protocol, "copies": copies if "--copies" in words else None,
        "seeds": int(amount("--seeds")) or 1, "asked": {"options": ["--data", named]},
        **wishes["scores"]}))
elif verb == "sample":
    import numpy
    images = numpy.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), "uint8")
    numpy.savez(option("--out"), images=images)
elif verb in ("dcgan", "fastgan", "projected"):
    import numpy
    run = Path(option("--out"))
    run.mkdir()
    report = {"images_seen": 640, "seconds": 60 * amount("--minutes"), "threads": 2}
    report |= {"options": {"batch": 64}, "torch": "2.9"}
    (run / "result.json").write_text(json.dumps(report))
    numpy.savez(run / "samples.npz", images=numpy.zeros((70, 64, 64, 3), "uint8"))
elif verb == "--only":
    rows = [{"against": "the plain loop", "other": [1000, 900, 5000], "ganvas": [2000.0]}]
    rows.append({"against": "another", "other": [1]})
    print(json.dumps({"images": "MNIST", "comparisons": rows}))
"""


class Stage:
    """A figures.py whose ganvas trains nothing, with its own folders of results and work."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for program in ("GANVAS", "SPEED", "RIVALS"):
            monkeypatch.setattr(measure, program, [sys.executable, str(folder / "stub.py")])
        self.folder, self.results, self.work = folder, folder / "results", folder / "work"
        (folder / "stub.py").write_text(STUB)
        self.wish()

    def wish(
        self, fail: tuple[str, str] | None = None, hang: str | None = None, **scores: Any
    ) -> None:
        """Wish for the calls to come.

        fail: a command, and a part of its arguments with which it fails.
        hang: a command that does not end.
        scores: what evaluations print.
        """
        wishes = {"fail": fail, "hang": hang, "scores": scores}
        (self.folder / "wishes.json").write_text(json.dumps(wishes))

    def __call__(self, *arguments: str) -> int:
        return figures.main([*arguments, "--results", str(self.results), "--work", str(self.work)])

    def calls(self, verb: str) -> list[list[str]]:
        path = self.folder / "calls"
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        return [words for words in lines if words[0] == verb]

    def result(self, name: str) -> Result:
        return read_result(self.results / f"{name}.json")


def result_of(
    cell: Cell,
    seconds: float = 60.0,
    images: int = 1000,
    verdict: Literal["copier", "not a copier", "cannot tell"] = "copier",
    **scores: float | None,
) -> Result:
    """A made-up result of a cell; all scores and floors are 0.5, but the floor of recall, 0.95."""
    names = ["fid", "kid", "precision", "recall", "coverage", "label_accuracy", "modes"]
    known: dict[str, Any] = dict.fromkeys([*names, "reverse_kl"], 0.5)
    protocol = Protocol(
        extractor="digits",
        extractor_sha256="ab" * 32,
        n_real=10_000,
        n_fake=cell.n,
        n_prdc=cell.prdc_n,
        k=5,
        split="test",
        resize="none",
        data=cell.judged_on or "own",
        real_sha256=cell.judged_on or "own",
        seed=0,
        n_modes=26_000,
    )
    copies = Copies(
        verdict=verdict,
        ratio=0.5,
        spread=0.01,
        share=0.3,
        share_held_out=0.0,
        nearest_training=1.0,
        nearest_held_out=2.0,
        n_fake=500,
        n_training=200,
        n_held_out=500,
        space="pixels",
    )
    evaluation = EvaluationResult(
        source="run",
        kind="run",
        floor=Scores(**known | {"recall": 0.95}),
        protocol=protocol,
        seeds=cell.samplings,
        copies=copies,
        **known | scores,
    )
    return Result(
        table=cell.table,
        cell=cell.name,
        recipe=cell.recipe,
        data=cell.data,
        settings=cell.settings,
        asked="",
        seed=0,
        images_seen=images,
        seconds=seconds,
        threads=2,
        precision="32",
        peak_rss_mb=100.0,
        resolved={},
        versions={},
        load=0.1,
        machine={"processor": "P", "cores": 2, "memory_gb": 8},
        commit="c",
        date="2026-11-24",
        plain=Plain(images="MNIST", rates=(600.0,), ganvas=(1300.0,)) if cell.plain else None,
        diversity=0.9 if cell.diversity else None,
        sheet=cell.sheet,
        evaluation=json.loads(evaluation.to_json()),
    )


def row(table: str, *beginning: str) -> list[str]:
    """The cells of the only row of a table that begins with these."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    (only,) = [cells for cells in rows if cells[: len(beginning)] == list(beginning)]
    return only
