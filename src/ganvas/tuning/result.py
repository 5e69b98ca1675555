"""The result of a search: its trials, the best of them, and a TOML file to train with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ganvas.errors import SettingError
from ganvas.runs.folder import set_aside
from ganvas.runs.request import Request, to_toml
from ganvas.system import files
from ganvas.system.progress import Say, duration
from ganvas.system.schema import leaves
from ganvas.system.text import command, count
from ganvas.tuning.trials import Trial

FIRST = "# Written by ganvas tune"  # a file that begins so was written by a search: see check_place


@dataclass(frozen=True)
class TuningResult:
    """The result of a search.

    request: to train with. Its settings are those of the best trial that were given, searched, or
        differ from the recipe's.
    given: the settings that the search started from.
    trials: in order; the first has the recipe's own settings.
    best: the number of the best trial.
    images: training images of each trial.
    samples, real: number of images compared for a score.
    stopped: the signal that ended the search, 0 for none.
    out: the TOML file; "" before it is written.
    """

    request: Request
    given: Mapping[str, Any]
    data_name: str
    trials: list[Trial]
    best: int
    images: int
    samples: int
    real: int
    seconds: float
    stopped: int
    versions: dict[str, str]
    out: str = ""

    @property
    def verdict(self) -> str:
        """One sentence: the best trial, and its score beside that of the recipe's own settings."""
        first, best, others = self.trials[0], self.trials[self.best], len(self.trials) - 1
        score = f"KID x 1000 {best.score:.4g}"
        if best is first:
            tried = f"none of {others} others is better" if others else "no other trial ended"
            return f"the recipe's own settings win: {score}; {tried}"
        text = f"trial {self.best} wins, of {len(self.trials)}: {score}"
        if first.state != "finished" or first.score is None or best.score is None:
            return f"{text}; the recipe's own settings diverge"
        less = f", {1 - best.score / first.score:.0%} less" if best.score > 0 else ""
        return f"{text}{less} than {first.score:.4g} of the recipe's own settings"

    @property
    def columns(self) -> list[str]:
        return ["trial", *self.trials[0].settings, "KID x 1000", "images", ""]

    def rows(self) -> list[list[str]]:
        """The trials as a table."""
        rows = []
        for trial in self.trials:
            notes = ["best"] * (trial.number == self.best)
            notes += ["the recipe's own"] * (trial.number == 0)
            notes += [trial.state] * (trial.state != "finished")
            score = "-" if trial.score is None else f"{trial.score:.4g}"
            shown = trial.settings_text().values()
            rows.append([str(trial.number), *shown, score, f"{trial.images:,}", ", ".join(notes)])
        return rows

    def train_command(self, out: Path) -> str:
        """The command that trains with the best settings."""
        return command("train", config=out, data_dir=self.request.data_dir)

    def repeat_command(self) -> str:
        """The command that repeats the search without a clock."""
        request, trials = self.request, max(2, len(self.trials))
        names = ("seed", "threads", "precision", "device", "data_dir")
        options = {"data": request.data, "trials": trials, "images": self.images}
        options |= {name: getattr(request, name) for name in names} | request.given()
        given = [f"{path}={msgspec.json.encode(v).decode()}" for path, v in leaves(self.given)]
        return command("tune", request.recipe, **options, flip=bool(request.flip), set_=given)

    def to_json(self) -> dict[str, Any]:
        names = ("recipe", "data", "seed", "device", "threads", "precision", "settings")
        asked = {name: getattr(self.request, name) for name in names}
        texts = {"verdict": self.verdict, "again": self.repeat_command()}
        left_out = ("request", "given", "data_name")
        return asked | texts | {k: v for k, v in vars(self).items() if k not in left_out}

    def to_toml(self, out: Path) -> str:
        """The request as TOML; in comments the trials and the command that repeats the search."""
        stopped = ", stopped by a signal" if self.stopped else ""
        conditions = trial_conditions(self.request)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        comments = [
            f"{FIRST[2:]}: {self.train_command(out)}",
            "",
            f"{self.verdict}.",
            "Lower is better. Each score is of one short training, so small differences are noise.",
            "A longer training may do better with others, above all with another learning rate.",
            "",
            f"Each trial: {self.images:,} images of {self.data_name}, {conditions}. "
            f"Each score: {self.samples:,} samples against {self.real:,} held-out images.",
            f"The search took {duration(self.seconds)}{stopped}. {versions}",
            f"Once more: {self.repeat_command()}",
            "",
            *_aligned([self.columns, *self.rows()]),
        ]
        # what depends on the machine, and the seed, are left to the training
        unset: Any = dict.fromkeys(("seed", "device", "precision", "threads"))
        request = dataclasses.replace(self.request, **unset)
        return "\n".join(map(_comment, comments)) + f"\n\n{to_toml(request)}"


def trial_conditions(request: Request) -> str:
    """Seed, device, threads and precision of the trials, in words."""
    threads = count(request.threads or 0, "thread")
    return f"seed {request.seed}, {request.device}, {threads}, precision {request.precision}"


def _comment(text: str) -> str:
    """A line of TOML comment; an unprintable character in a name becomes "?"."""
    return f"# {''.join(c if c.isprintable() else '?' for c in text)}".rstrip()


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def check_place(out: Path) -> None:
    """Raise SettingError if the result cannot be written to `out`, before time is spent."""
    files.refuse_ending(out, "the result is TOML", ".toml")
    with files.reading(out):
        if out.is_dir() or (out.exists() and not out.read_bytes().startswith(FIRST.encode())):
            raise SettingError(f"--out {out} was not written by ganvas tune: give another name")
    folder = next(path for path in out.absolute().parents if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingError(f"--out {out}: cannot write in {folder}; give another place")


def write_toml(result: TuningResult, out: Path, say: Say) -> TuningResult:
    """Write the TOML, keeping an earlier one beside it. Returns the result with `out`.

    The best settings are printed first, so that they are not lost if writing fails.
    """
    say(f"{result.verdict} (one short training each: small differences are noise)")
    settings = leaves(result.request.settings)
    say("; ".join(f"{path}={value}" for path, value in settings if value is not None))
    if out.exists():
        say(f"the earlier {out} is kept as {set_aside(out)}")
    files.write(out, result.to_toml(out))
    written = "stopped; the best so far is written" if result.stopped else "written"
    say(f"{written}; to use it: {result.train_command(out)}")
    return dataclasses.replace(result, out=str(out))
