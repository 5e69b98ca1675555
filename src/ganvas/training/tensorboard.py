"""TensorBoard's event files, written at once and by this thread: a full disk is then an error of
ours to report.

(SummaryWriter writes from a thread of its own, where such an error is lost or printed as a
traceback.)
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ganvas.system.files import writing


class Board:
    """One event file. purge: from this step on, what earlier files of the folder hold is out of
    date.

    Raises RunError when the disk refuses.
    """

    def __init__(self, folder: Path, purge: int | None) -> None:
        # tenths of a second to import
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.path = (
            folder
            / f"events.out.tfevents.{time.time_ns():019d}.{socket.gethostname()}.{os.getpid()}"
        )
        self.event, self.summary = Event, Summary
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "wb")  # noqa: SIM115 - closed by close()
            self.records = RecordWriter(self.file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge is not None:
            self._write(
                Event(
                    wall_time=time.time(),
                    step=purge,
                    session_log=SessionLog(status=SessionLog.START),
                )
            )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Values by their tags, as one event."""
        summary = self.summary(
            value=[self.summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        )
        self._write(self.event(wall_time=time.time(), step=step, summary=summary))

    def image(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """A PNG of (height, width)."""
        image = self.summary.Image(height=size[0], width=size[1], encoded_image_string=png)
        summary = self.summary(value=[self.summary.Value(tag=tag, image=image)])
        self._write(self.event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: object) -> None:
        with writing(self.path):
            self.records.write(event.SerializeToString())  # type: ignore[attr-defined]

    def flush(self) -> None:
        with writing(self.path):
            self.file.flush()

    def close(self) -> None:
        """Close the file; what a full disk still keeps from it was told before."""
        with suppress(OSError):
            self.file.close()
