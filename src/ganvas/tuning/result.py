"""What a search found: its trials, the best of them, and the TOML that `ganvas train --config`
takes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ganvas.runs.folder import set_aside
from ganvas.runs.request import Request, to_toml
from ganvas.system import files
from ganvas.system.progress import duration
from ganvas.system.schema import leaves
from ganvas.tuning.trials import Trial

FIRST = "# Written by ganvas tune"  # a file that begins so is a search's own, and may be replaced


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    request: to train with; its settings are those of the best trial, as far as they differ from the
    recipe's, were asked for or searched.
    asked: the settings that the search was to start from. trials: the first is the recipe as it is.
    best: the number of the
    best. images: of a trial. samples, real: how many were compared for a score. stopped: the signal
    that ended it, 0 for none.
    """

    request: Request
    asked: Mapping[str, Any]
    data_name: str
    data_dir: Path | None
    trials: tuple[Trial, ...]
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
        """What came of it, in a sentence."""
        own, best, others = self.trials[0], self.trials[self.best], len(self.trials) - 1
        score = f"KID x 1000 {best.score:.4g}"
        if best is own:
            tried = (
                f"none of {others} others is better"
                if others
                else "nothing else was tried to its end"
            )
            return f"the recipe's own settings win: {score}; {tried}"
        found = f"trial {self.best} wins, of {len(self.trials)}: {score}"
        if own.state != "finished" or own.score is None or best.score is None:
            return f"{found}; the recipe's own settings diverge"
        less = f", {1 - best.score / own.score:.0%} less" if best.score > 0 else ""
        return f"{found}{less} than {own.score:.4g} of the recipe's own settings"

    @property
    def columns(self) -> list[str]:
        return ["trial", *self.trials[0].settings, "KID x 1000", "images", ""]

    def rows(self) -> list[list[str]]:
        """The trials as a table."""
        rows = []
        for trial in self.trials:
            notes = ["best"] * (trial.number == self.best) + ["the recipe's own"] * (
                trial.number == 0
            )
            notes += [trial.state] * (trial.state != "finished")
            score = "-" if trial.score is None else f"{trial.score:.4g}"
            rows.append(
                [
                    str(trial.number),
                    *trial.told().values(),
                    score,
                    f"{trial.images:,}",
                    ", ".join(notes),
                ]
            )
        return rows

    def use(self, out: Path) -> str:
        """The command that trains with what was found."""
        return shlex.join(["ganvas", "train", "--config", str(out), *self._where()])

    def _where(self) -> list[str]:
        return ["--data-dir", str(self.data_dir)] if self.data_dir else []

    def again(self) -> str:
        """The command that makes the same search once more, without a clock."""
        request = self.request
        options = {
            "--data": request.data,
            "--trials": max(2, len(self.trials)),
            "--images": self.images,
        }
        options |= {
            "--seed": request.seed,
            "--threads": request.threads,
            "--precision": request.precision,
            "--device": request.device,
        }
        options |= {"--size": request.size and "{}x{}".format(*request.size)}
        options |= {"--fit": request.fit, "--channels": request.channels}
        words = [
            f"{word}" for option in options.items() if option[1] is not None for word in option
        ]
        words += ["--flip"] * bool(request.flip)
        sets = [
            f"{path}={msgspec.json.encode(value).decode()}" for path, value in leaves(self.asked)
        ]
        return shlex.join(
            [
                "ganvas",
                "tune",
                request.recipe or "",
                *words,
                *self._where(),
                *(["--set", *sets] if sets else []),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del plain["request"], plain["asked"], plain["data_name"], plain["data_dir"]
        request = self.request
        return {
            "recipe": request.recipe,
            "data": request.data,
            "seed": request.seed,
            "device": request.device,
            "threads": request.threads,
            "precision": request.precision,
            "settings": request.settings,
            "verdict": self.verdict,
            "again": self.again(),
            **plain,
        }

    def to_toml(self, out: Path) -> str:
        """The request as TOML, and in comments how it was found."""
        said = [
            f"{self.verdict}.",
            (
                "Lower is better. Each figure is of one short training: small differences are"
                " chance, and what is best for"
            ),
            "a longer training may differ, above all a learning rate.",
            "",
            (
                f"Each trial: {self.images:,} images of {self.data_name}, {how(self.request)}. "
                f"Each score: {self.samples:,} samples against {self.real:,} held-out images."
            ),
            "The search took"
            f" {duration(self.seconds)}{', stopped by a signal' if self.stopped else ''}. "
            + ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            f"Once more: {self.again()}",
            "",
            *_aligned([self.columns, *self.rows()]),
        ]
        request = dataclasses.replace(
            self.request, seed=None, device=None, precision=None, threads=None
        )
        return (
            "\n".join([_comment(f"{FIRST[2:]}: {self.use(out)}"), "#", *map(_comment, said)])
            + f"\n\n{to_toml(request)}"
        )


def how(request: Request) -> str:
    """On what, and from which seed, trials are trained."""
    threads = f"{request.threads} thread{'' if request.threads == 1 else 's'}"
    return f"seed {request.seed}, {request.device}, {threads}, precision {request.precision}"


def _comment(text: str) -> str:
    """A line of a TOML comment, which no name of a file or a data set breaks."""
    return f"# {''.join(c if c.isprintable() else '?' for c in text)}".rstrip()


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def write_toml(tuned: Tuned, out: Path, say: Callable[[str], None]) -> Tuned:
    """Write the TOML, an earlier one kept beside it. What was found is said first: should the disk
    refuse, it is not lost."""
    say(f"{tuned.verdict} (one short training each: small differences are chance)")
    say(
        "; ".join(
            f"{path}={value}" for path, value in leaves(tuned.request.settings) if value is not None
        )
    )
    if out.exists():
        say(f"the earlier {out} is kept as {set_aside(out)}")
    files.write(out, tuned.to_toml(out))
    say(
        f"{'stopped; the best so far is written' if tuned.stopped else 'written'}; to use it:"
        f" {tuned.use(out)}"
    )
    return dataclasses.replace(tuned, out=str(out))
