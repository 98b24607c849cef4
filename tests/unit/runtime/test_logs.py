"""Case 11 and row 18: the log blocks nothing, repeats nothing, and no text can forge a line."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator

import pytest

from support.brokers import until
from tocsin_agent.runtime.logs import Folding, JsonFormatter, LineFormatter, QueuedHandler


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
    assert time.monotonic() - began_s < 10
    assert handler.lost > 0
    received = b""
    while b"lines of the log were lost" not in received:
        received += os.read(pipe[0], 65536)
    until(lambda: handler._lines.unfinished_tasks == 0 or bool(os.read(pipe[0], 65536)))


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
