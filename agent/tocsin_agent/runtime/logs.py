"""The log on stderr or in the journal: it blocks nothing, and says each thing once.

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
import socket
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tocsin_agent.log_fields import fields_of
from tocsin_agent.messages.printable import clean

MAX_WAITING = 1000
_FOLD_S = 60.0
_MAX_FOLDED = 256
_LAST_WAIT_S = 0.5
JOURNAL_SOCKET = "/run/systemd/journal/socket"
_MAX_MESSAGE, _MAX_FIELD = 16_384, 1024  # characters; a datagram has room for more
_PLAIN = logging.Formatter()


def bare_message(record: logging.LogRecord) -> str:
    """Return a message as printable text, with a traceback on further lines, indented."""
    text = clean(record.getMessage())
    if record.exc_info:
        trace = _PLAIN.formatException(record.exc_info).splitlines()
        text += "".join(f"\n    {clean(line)}" for line in trace)
    return text


class LineFormatter(logging.Formatter):
    """One record on one line of printable text, with UTC; a traceback follows, indented."""

    converter = time.gmtime  # type: ignore[assignment]  # as its documentation does
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = self.formatTime(record)
        return f"{at} {record.levelname} {record.name}: {bare_message(record)}"


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
        item |= {name: clean(value) for name, value in fields_of(record).items()}
        return json.dumps(item, ensure_ascii=False)


class Journal:
    """The journal of systemd by its native protocol: a datagram of fields for each message.

    Source: systemd, "Native Journal Protocol" (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    Parameters
    ----------
    address : str
        The socket of journald.
    """

    _PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4))

    def __init__(self, address: str = JOURNAL_SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @classmethod
    def of_stderr(cls, environ: Mapping[str, str]) -> Journal | None:
        """Return the journal, if it is what reads stderr (JOURNAL_STREAM, systemd.exec(5))."""
        status = os.fstat(2)
        if environ.get("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}":
            return None
        return cls()

    def datagram(self, record: logging.LogRecord, message: str) -> bytes:
        """Return a record with its fields; those of tocsin are called `TOCSIN_…`."""
        levels = (number for level, number in self._PRIORITIES if record.levelno >= level)
        fields = {
            "MESSAGE": message[:_MAX_MESSAGE],
            "PRIORITY": str(next(levels, 6 if record.levelno >= logging.INFO else 7)),
            "SYSLOG_IDENTIFIER": "tocsin",
            "TOCSIN_LOGGER": record.name,
            "TOCSIN_THREAD": record.threadName or "",
        }
        for name, value in fields_of(record).items():
            fields[f"TOCSIN_{name.upper()}"] = value[:_MAX_FIELD]
        return b"".join(_field(name, value) for name, value in fields.items())

    def send(self, datagram: bytes) -> None:
        """Send a datagram; may wait, and raises `OSError` where there is no journald."""
        self._socket.sendto(datagram, self._address)

    def close(self) -> None:
        """Close the socket; what is sent after that raises `OSError`."""
        self._socket.close()


def _field(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "replace")
    if b"\n" not in content:
        return name.encode() + b"=" + content + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n"


class _Item(NamedTuple):
    """What waits to be written: to the journal, or where it is not there, as a line."""

    line: str
    datagram: bytes | None


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
    """Writes messages in a thread of its own; `emit` never waits.

    Parameters
    ----------
    descriptor : int
        Where lines go; 2 for stderr.
    most : int
        Messages that may wait.
    journal : Journal, optional
        Gets the messages in place of the descriptor, but for those in JSON; what it does not take
        is written as a line.
    """

    def __init__(
        self, descriptor: int = 2, most: int = MAX_WAITING, journal: Journal | None = None
    ) -> None:
        super().__init__()
        self._descriptor, self._journal = descriptor, journal
        self._items: queue.Queue[_Item] = queue.Queue(most)
        self.lost = 0
        # A daemon: a reader that stands still must not keep the process from ending.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        try:
            line, datagram = self.format(record), None
            if self._journal is not None and not isinstance(self.formatter, JsonFormatter):
                # The journal has time, level and place in fields of their own.
                datagram = self._journal.datagram(record, bare_message(record))
            self._items.put_nowait(_Item(line, datagram))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted ends nothing
            self.handleError(record)

    def close(self) -> None:
        """Leave the journal; what comes later is a line."""
        if self._journal is not None:
            self._journal.close()
        super().close()

    def flush(self) -> None:
        """Wait half a second at most for what is queued to be written."""
        until_s = time.monotonic() + _LAST_WAIT_S
        while self._items.unfinished_tasks and time.monotonic() < until_s:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            item = self._items.get()
            lost, self.lost = self.lost, 0
            if not self._sent(item.datagram):
                self._write(item.line)
            if lost:
                self._write(f"({lost} lines of the log were lost: nobody read it)")
            self._items.task_done()

    def _sent(self, datagram: bytes | None) -> bool:
        """Return whether the journal has taken it."""
        if self._journal is None or datagram is None:
            return False
        try:
            self._journal.send(datagram)
        except OSError:  # journald is gone, or the message is too long for it
            return False
        return True

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed pipe: there is nobody to write to
            content = f"{line}\n".encode()
            while content:
                content = content[os.write(self._descriptor, content) :]


def change_log(level: str, form: str) -> None:
    """Change level and form of the log that `log_to_stderr` began."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in root.handlers:
        if isinstance(handler, QueuedHandler):
            handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())


def log_to_stderr(level: str, form: str = "text") -> None:
    """Write log messages to stderr for a service manager to keep.

    Where the journal of systemd reads stderr, messages of the form `text` go to it with fields.

    Parameters
    ----------
    level : str
        The lowest level that is written.
    form : str
        `text`, or `json` for one object a line.
    """
    handler = QueuedHandler(journal=Journal.of_stderr(os.environ))
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())
    handler.addFilter(Folding())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
