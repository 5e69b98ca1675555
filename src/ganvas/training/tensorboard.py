"""TensorBoard's event files, written at once and by the calling thread, so that a full disk is an
error that ganvas can report. (SummaryWriter writes in a thread of its own, where such an error is
lost or printed as a traceback.)"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ganvas.system.files import writing


class Board:
    """An event file in `folder`, made at the first write. Writing raises RunError if the disk
    refuses.

    purge: the first step that is out of date in earlier files of the folder, None for none.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time_ns():019d}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self.purge: int | None = None
        self.file: BinaryIO | None = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write values by their tags, as one event."""
        summary = [{"tag": tag, "simple_value": value} for tag, value in values.items()]
        self._write(step=step, summary={"value": summary})

    def image(self, tag: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """Write a PNG of `size` (height, width)."""
        image = {"height": size[0], "width": size[1], "encoded_image_string": png}
        self._write(step=step, summary={"value": [{"tag": tag, "image": image}]})

    def _open(self) -> None:
        # takes tenths of a second to import
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "wb")  # noqa: SIM115 - closed by close()
            self.records = RecordWriter(self.file)
        self._write(file_version="brain.Event:2")
        if self.purge is not None:
            self._write(step=self.purge, session_log={"status": SessionLog.START})

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        if self.file is None:
            self._open()
        with writing(self.path):
            self.records.write(Event(wall_time=time.time(), **event).SerializeToString())

    def flush(self) -> None:
        if self.file is not None:
            with writing(self.path):
                self.file.flush()

    def close(self) -> None:
        """Close the file. What a full disk keeps from it now has raised an error before."""
        if self.file is not None:
            with suppress(OSError):
                self.file.close()
