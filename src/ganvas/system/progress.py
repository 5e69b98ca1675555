"""Progress of a training on stderr: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.segment import ControlType
from rich.text import Text

Say = Callable[[str], None]  # shows the user a line

_T = TypeVar("_T")

LIVE_SECONDS = 0.1  # between two states of a line in a terminal
PLAIN_SECONDS = 5.0  # between lines within an epoch
EPOCH_SECONDS = 0.05  # between lines of very short epochs


def duration(seconds: float) -> str:
    """Format seconds as 0:07, 12:30 or 1:02:03."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_statistics(line: Mapping[str, Any]) -> str:
    """Format a step's or a log line's losses and scores."""
    return (
        f"D loss {line['d_loss']:.3f}  G loss {line['g_loss']:.3f}  D(real) {line['d_real']:.3f} "
        f" D(fake) {line['d_fake']:.3f}  D right {line['d_accuracy']:.0%}"
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Fall silent and train on, where rich would exit."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def watched(items: Iterable[_T], total: int, done: str, /) -> Iterator[_T]:
    """Yield items and show on stderr how many of `total` pictures are `done`, such as "read".

    A line in a terminal, which disappears at the end; elsewhere a line every PLAIN_SECONDS.
    """
    console = _Console(stderr=True, highlight=False)
    wait = LIVE_SECONDS if console.is_terminal else PLAIN_SECONDS
    told = time.monotonic()
    try:
        for i, item in enumerate(items, 1):
            if (now := time.monotonic()) - told >= wait:
                told = now
                end = "\r" if console.is_terminal else "\n"
                console.print(Text(f"{done} {i:,} of {total:,} pictures"), end=end)
            yield item
    finally:
        if console.is_terminal:
            console.control(Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN))


class Progress:
    """The display of one training.

    verbose: print every line of the log.
    quiet: print nothing.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self.console = _Console(stderr=True, quiet=quiet, highlight=False)
        self.verbose = verbose
        self.live: Live | None = None
        self.planned = self.seen = self.start = 0
        self.began = self.printed = 0.0
        self.newest, self.line_epoch = "", 0

    def say(self, text: str) -> None:
        """Print a line for the user, above the live display."""
        self.console.print(Text(text), soft_wrap=True)

    def begin(self, planned: int, seen: int) -> None:
        """Start the display. planned: images in all. seen: images seen before."""
        self.planned, self.seen, self.start = planned, seen, seen
        self.began = time.monotonic()
        if self.console.is_terminal and not self.console.quiet:
            texts = [TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[pace]}")]
            self.bar = Bar(BarColumn(bar_width=30), *texts, console=self.console)
            self.task = self.bar.add_task("", total=planned, completed=seen, pace="")
            self.live = Live(self.bar, console=self.console, refresh_per_second=8, transient=True)
            self.live.start()

    def total(self, planned: int) -> None:
        """Set a new number of planned images."""
        self.planned = planned
        if self.live is not None:
            self.bar.update(self.task, total=planned)

    def _pace(self) -> str:
        elapsed = time.monotonic() - self.began
        rate = (self.seen - self.start) / elapsed if elapsed > 0 else 0.0
        left = f"{duration((self.planned - self.seen) / rate)} left" if rate > 0 else ""
        return f"{self.seen:,} of {self.planned:,} images  {rate:,.0f} images/s  {left}"

    def update(self, seen: int, statistics: Mapping[str, Any]) -> None:
        """Show the newest step's statistics."""
        self.seen = seen
        if self.live is not None:
            self.bar.update(self.task, completed=seen, pace=self._pace())
            sheet = f"newest sheet: {self.newest}" if self.newest else "no sheet yet"
            texts = Text(format_statistics(statistics)), Text(sheet, overflow="fold")
            self.live.update(Group(self.bar, *texts))

    def line(self, line: Mapping[str, Any]) -> None:
        """Print a line of the log if it ends an epoch or some time has passed."""
        self.seen = line["images"]
        now = time.monotonic()
        new_epoch = int(line["epoch"]) > self.line_epoch
        wait = EPOCH_SECONDS if new_epoch else PLAIN_SECONDS
        if self.verbose or now - self.printed >= wait or self.seen >= self.planned:
            self.printed, self.line_epoch = now, int(line["epoch"])
            augmented = f"  augmented {line['augmentation']:.0%}" if "augmentation" in line else ""
            statistics = f"{format_statistics(line)}{augmented}"
            self.say(f"epoch {line['epoch']:.4g}  {statistics}  {self._pace()}")

    def sheet(self, path: Path) -> None:
        """Show the path of the newest sheet from now on."""
        self.newest = str(path)

    def end(self) -> None:
        """Remove the live display."""
        if self.live is not None:
            self.live.stop()
            self.live = None
