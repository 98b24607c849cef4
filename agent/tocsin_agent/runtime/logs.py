"""The log on stderr: it never blocks what it reports on, and says each thing once.

The reader of stderr may stand still (a log driver that blocks, a paused terminal). Lines therefore
wait in a bounded queue for a thread of their own; what does not fit is counted, and the count is
logged. A line that comes again within a minute is folded into one that states how often it came.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tocsin_agent.messages.printable import clean

MAX_WAITING = 1000
_FOLD_S = 60.0
_MAX_FOLDED = 256
_LAST_WAIT_S = 0.5


class LineFormatter(logging.Formatter):
    """One record on one line of printable text, with UTC; a traceback follows, indented."""

    converter = time.gmtime  # type: ignore[assignment]  # as its documentation does
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = self.formatTime(record)
        line = f"{at} {record.levelname} {record.name}: {clean(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {clean(text)}" for text in trace)
        return line


class JsonFormatter(LineFormatter):
    """One record as one JSON object on a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        item = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
        }
        if record.exc_info:
            item["traceback"] = self.formatException(record.exc_info)
        return json.dumps(item, ensure_ascii=False)


class Folding(logging.Filter):
    """Lets a line pass once a minute; the next one that passes states how many were left out.

    Parameters
    ----------
    monotonic : callable
        Returns seconds on a clock that is never set; for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        message = record.getMessage()
        key, now_s = (record.name, record.levelno, message), self._monotonic()
        with self._lock:
            at_s, folded = self._last.get(key, (-_FOLD_S, 0))
            if now_s - at_s < _FOLD_S:
                self._last[key] = (at_s, folded + 1)
                return False
            self._last[key] = (now_s, 0)
            self._last.move_to_end(key)
            while len(self._last) > _MAX_FOLDED:
                self._last.popitem(last=False)
        if folded:
            record.msg, record.args = f"{message} ({folded} more times since)", ()
        return True


class QueuedHandler(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own; `emit` never waits.

    Parameters
    ----------
    descriptor : int
        2 for stderr.
    most : int
        Lines that may wait.
    """

    def __init__(self, descriptor: int = 2, most: int = MAX_WAITING) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(most)
        self.lost = 0
        # A daemon: a reader that stands still must not keep the process from ending.
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted ends nothing
            self.handleError(record)

    def flush(self) -> None:
        """Wait half a second at most for what is queued to be written."""
        until_s = time.monotonic() + _LAST_WAIT_S
        while self._lines.unfinished_tasks and time.monotonic() < until_s:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            lost, self.lost = self.lost, 0
            if lost:
                line = f"{line}\n({lost} lines of the log were lost: nobody read it)"
            with contextlib.suppress(OSError):  # a closed pipe: there is nobody to write to
                content = f"{line}\n".encode()
                while content:
                    content = content[os.write(self._descriptor, content) :]
            self._lines.task_done()


def change_log(level: str, form: str) -> None:
    """Change level and form of the log that `log_to_stderr` began."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in root.handlers:
        if isinstance(handler, QueuedHandler):
            handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())


def log_to_stderr(level: str, form: str = "text") -> None:
    """Write log messages to stderr for a service manager to keep.

    Parameters
    ----------
    level : str
        The lowest level that is written.
    form : str
        `text`, or `json` for one object a line.
    """
    handler = QueuedHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())
    handler.addFilter(Folding())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
