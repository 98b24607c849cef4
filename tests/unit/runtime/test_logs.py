"""Case 11 and row 18: the log blocks nothing, repeats nothing, and no text can forge a line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers import until
from support.programs import PATIENCE_S
from tocsin_agent.log_fields import about, with_fields
from tocsin_agent.runtime.logs import Folding, Journal, JsonFormatter, LineFormatter, QueuedHandler


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("tocsin", logging.WARNING, "f", 1, message, arguments, None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_case_11_a_reader_that_stands_still_blocks_nothing(pipe: tuple[int, int]) -> None:
    handler = QueuedHandler(pipe[1], most=100)
    handler.setFormatter(LineFormatter())
    began_s = time.monotonic()
    for number in range(5000):
        handler.emit(record("x" * 1000 + str(number)))
    handler.flush()
    assert time.monotonic() - began_s < 60
    assert handler.lost > 0
    received = b""
    while b"lines of the log were lost" not in received:
        received += os.read(pipe[0], 65536)
    until(lambda: handler._items.unfinished_tasks == 0 or bool(os.read(pipe[0], 65536)))


def test_case_11_a_repeated_line_is_folded() -> None:
    now_s = [0.0]
    folding = Folding(lambda: now_s[0])
    assert [folding.filter(record("refused %s", "a")) for _ in range(100)] == [True] + [False] * 99
    assert folding.filter(record("refused %s", "b"))
    now_s[0] = 61.0
    again = record("refused %s", "a")
    assert folding.filter(again)
    assert again.getMessage() == "refused a (99 more times since)"


def test_row_18_no_text_can_forge_a_line() -> None:
    forged = record("lease of %s", "dr\n2026-01-01 ERROR \x1b[31m forged")
    assert LineFormatter().format(forged).isprintable()
    item = json.loads(JsonFormatter().format(forged))
    assert item["message"].startswith("lease of dr")
    assert item["level"] == "warning"


def entry(datagram: bytes) -> dict[str, str]:
    """Read a datagram as journald does: `NAME=value`, or NAME, its length, and the value."""
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, assigned, value = line.partition(b"=")
        if not assigned:
            size = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + size], datagram[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.settimeout(PATIENCE_S)
        yield listening


@pytest.fixture
def handled() -> Iterator[Callable[..., QueuedHandler]]:
    made = list[QueuedHandler]()

    def make(address: str, descriptor: int = 2, most: int = 100) -> QueuedHandler:
        made.append(QueuedHandler(descriptor, most, Journal(address)))
        made[-1].setFormatter(LineFormatter())
        return made[-1]

    yield make
    for handler in made:
        handler.close()


def through(handler: QueuedHandler) -> logging.Logger:
    logger = logging.Logger("tocsin_agent.test")  # noqa: LOG001 - not one of the program
    logger.addHandler(handler)
    return logger


def test_the_journal_gets_fields(
    journald: socket.socket, handled: Callable[..., QueuedHandler]
) -> None:
    logger = through(handled(journald.getsockname()))

    def speak() -> None:
        about(device="bed-7", patient="p-1", site="")
        logger.warning("alert %s raised", "3f", extra=with_fields(alert_id="3f", code="asystole"))

    speaker = threading.Thread(target=speak)
    speaker.start()
    found = entry(journald.recv(65536))
    speaker.join()
    assert found["MESSAGE"] == "alert 3f raised"
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("4", "tocsin")
    assert (found["TOCSIN_DEVICE"], found["TOCSIN_PATIENT"]) == ("bed-7", "p-1")
    assert (found["TOCSIN_ALERT_ID"], found["TOCSIN_CODE"]) == ("3f", "asystole")
    assert "TOCSIN_SITE" not in found
    logger.error("of another thread")
    assert "TOCSIN_DEVICE" not in entry(journald.recv(65536))


def test_a_traceback_and_a_long_message_are_one_entry(
    journald: socket.socket, handled: Callable[..., QueuedHandler]
) -> None:
    logger = through(handled(journald.getsockname()))
    try:
        int("x" * 100_000)
    except ValueError:
        logger.exception("failed")
    found = entry(journald.recv(1 << 20))
    assert found["MESSAGE"].startswith("failed\n    Traceback")
    assert len(found["MESSAGE"]) <= 16_384


def test_without_a_journal_the_line_is_written(
    pipe: tuple[int, int], tmp_path: Path, handled: Callable[..., QueuedHandler]
) -> None:
    logger = through(handled(str(tmp_path / "none"), pipe[1]))
    logger.error("alone")
    assert b"ERROR tocsin_agent.test: alone\n" in os.read(pipe[0], 4096)


def test_a_journal_that_stands_still_blocks_nothing(
    journald: socket.socket, handled: Callable[..., QueuedHandler]
) -> None:
    handler = handled(journald.getsockname(), most=50)
    logger = through(handler)
    began_s = time.monotonic()
    for number in range(3000):
        logger.info("%d %s", number, "x" * 1000)
    assert time.monotonic() - began_s < 60
    assert handler.lost > 0
    journald.settimeout(0.05)

    def read() -> bool:
        with contextlib.suppress(TimeoutError):
            while True:
                journald.recv(65536)
        return not handler._items.unfinished_tasks

    until(read, what="all that waits is read")


def test_json_has_the_fields_and_goes_to_stderr(
    pipe: tuple[int, int], journald: socket.socket, handled: Callable[..., QueuedHandler]
) -> None:
    handler = handled(journald.getsockname(), pipe[1])
    handler.setFormatter(JsonFormatter())
    through(handler).info("alert", extra=with_fields(alert_id="3f"))
    assert json.loads(os.read(pipe[0], 4096))["alert_id"] == "3f"


def test_the_journal_is_used_where_it_reads_stderr() -> None:
    status = os.fstat(2)
    found = Journal.of_stderr({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert found is not None
    found.close()
    assert Journal.of_stderr({"JOURNAL_STREAM": "1:1"}) is None
    assert Journal.of_stderr({}) is None
