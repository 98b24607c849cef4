"""Copies what can be read of a damaged outbox into a new one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from tocsin_agent.delivery.rows import checksum
from tocsin_agent.messages.alert import Kind, Phase, Priority

COLUMNS = (
    "created, alert_id, sequence, phase, kind, code, priority, rank, pending, handover, team, "
    "bedside, document, committed, checksum"
)
"""Of the table `alert`, in the order of a row."""
_FIRST_COLUMNS = COLUMNS.removesuffix(", committed, checksum") + ", NULL, NULL"
_MAX_SINGLE_READS = 100_000  # of rows between two stretches that can be read in order
_COMBINATIONS = {
    (str(phase), str(kind), str(priority))
    for phase in Phase
    for kind in Kind
    for priority in Priority
}

Row: TypeAlias = tuple[object, ...]


def salvage(aside: Path, db: sqlite3.Connection) -> tuple[int, int]:
    """Copy the readable rows of every table.

    Parameters
    ----------
    aside : Path
        The damaged file.
    db : sqlite3.Connection
        The new one, in a transaction.

    Returns
    -------
    tuple of int
        How many alerts were copied, and how many at least are lost.
    """
    kept = lost = 0
    with contextlib.closing(sqlite3.connect(aside)) as old:
        # Without this SQLite reads nothing of a file that is shorter than its header says.
        with contextlib.suppress(sqlite3.Error):
            old.execute("PRAGMA writable_schema = ON")
        for row in _alerts(old):
            if row is not None and _is_whole(row):
                marks = ", ".join("?" * len(row))
                insert = f"INSERT OR IGNORE INTO alert ({COLUMNS}) VALUES ({marks})"  # noqa: S608
                kept += db.execute(insert, row).rowcount
            else:
                lost += 1
        for table in ("answer", "audit", "counter", "memo"):
            with contextlib.suppress(sqlite3.Error):  # up to the first row that cannot be read
                for row in old.execute(f"SELECT * FROM {table}"):  # noqa: S608
                    marks = ", ".join("?" * len(row))
                    db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
    return kept, lost


def _alerts(old: sqlite3.Connection) -> Iterator[Row | None]:
    """Yield the rows of the table `alert`, and None for what cannot be read.

    They are read from the first on until a page is damaged, then from the last one back, then one
    by one in between.
    """
    columns = _columns(old)
    if columns is None:
        yield None
        return
    last, complete = 0, True
    try:
        for row in old.execute(f"SELECT {columns} FROM alert ORDER BY created"):  # noqa: S608
            last = _number(row, last)
            yield row
    except sqlite3.Error:
        complete = False
    if not complete:
        yield from _after(old, columns, last)


def _after(old: sqlite3.Connection, columns: str, first: int) -> Iterator[Row | None]:
    """Yield what can be read after a row that cannot."""
    last = None
    with contextlib.suppress(sqlite3.Error):
        backwards = f"SELECT {columns} FROM alert WHERE created > ? ORDER BY created DESC"  # noqa: S608
        for row in old.execute(backwards, (first,)):
            last = _number(row, first)
            yield row
    for created in range(first + 1, min(last or first + 2, first + _MAX_SINGLE_READS)):
        try:
            one = f"SELECT {columns} FROM alert WHERE created = ?"  # noqa: S608
            found = old.execute(one, (created,)).fetchone()
        except sqlite3.Error:
            yield None
        else:
            if found is not None:  # else it was removed long ago
                yield found
    if last is None:
        yield None  # what cannot be read cannot be counted


def _columns(old: sqlite3.Connection) -> str | None:
    for columns in (COLUMNS, _FIRST_COLUMNS):
        try:
            old.execute(f"SELECT {columns} FROM alert LIMIT 0")  # noqa: S608
        except sqlite3.OperationalError:
            continue  # an outbox of an earlier version, or none
        except sqlite3.Error:
            return None
        return columns
    return None


def _number(row: Row, otherwise: int) -> int:
    return row[0] if isinstance(row[0], int) else otherwise


def _is_whole(row: Row) -> bool:
    """Return whether a row has the types and values of a written one, and its checksum."""
    texts, numbers, document = row[1:2] + row[3:7], row[:1] + row[2:3] + row[7:12], row[12]
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and (row[3], row[4], row[6]) in _COMBINATIONS
        and (isinstance(document, bytes) or (document is None and not row[8]))
    ):
        return False
    if not isinstance(document, bytes) or row[14] is None:
        return True
    return row[14] == checksum((str(row[1]), int(str(row[2]))), document)
