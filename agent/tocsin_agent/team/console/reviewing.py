"""The review of cases in the console: who has read which case, and where an answer is kept.

The folder is that of `tocsin review export`. A person is shown the cases and their own answers, so
that two readers are independent; `answers/NAME.json` is what `tocsin review agree` reads.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from tocsin_agent.durable_file import changing, replace_file
from tocsin_agent.messages.reading import (
    INDEX,
    CaseIndex,
    IndexedCase,
    Reading,
    checked,
    decode_index,
    decode_readings,
    decode_shown,
    encode_readings,
    reader_of,
)
from tocsin_agent.regular_file import read_regular
from tocsin_agent.team.console.protocol import ReviewCase, ReviewList

T = TypeVar("T")

MAX_CASE_BYTES = 4_000_000
MAX_FILE_BYTES = 64_000_000


class CaseReview:
    """The cases of a folder, and the answers of the people who log in. Any thread.

    Parameters
    ----------
    folder : Path
        With `cases/` and `answers/`. It may be exported while the console runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cases(self, user: str) -> ReviewList:
        """Return the cases: those that a person has not read, and those that the person has.

        Raises
        ------
        OSError
            If the folder or the person's answers cannot be read.
        """
        index, answers = self._index(), self._answers(user)
        return ReviewList(
            conditions=index.conditions,
            labels=index.labels,
            unread=tuple(one for one in index.cases if one.case not in answers),
            read=tuple(one for one in index.cases if one.case in answers),
        )

    def case(self, name: str, user: str) -> ReviewCase:
        """Return a case, and what this person has answered.

        Raises
        ------
        LookupError
            If there is no such case.
        OSError
            As `cases`.
        """
        known = _find(self._index(), name)
        file = self._folder / "cases" / f"{known.case}.json"
        shown = _read(file, MAX_CASE_BYTES, decode_shown)
        return ReviewCase(shown=shown, reading=self._answers(user).get(known.case))

    def save(self, name: str, user: str, reading: Reading) -> None:
        """Keep a person's answer to a case, in place of an earlier one.

        Raises
        ------
        LookupError
            If there is no such case.
        ValueError
            If the answer is none to this case.
        OSError
            As `cases`, or if it cannot be written.
        """
        index = self._index()
        known = _find(index, name)
        sound = checked(reading, known, conditions=index.conditions, labels=index.labels)
        file = self._file(user)
        file.parent.mkdir(parents=True, exist_ok=True)
        with changing(file.parent):  # this person in another tab, or `tocsin review take`
            answers = self._answers(user)
            answers[known.case] = sound
            replace_file(file, encode_readings(answers))

    def _index(self) -> CaseIndex:
        return _read(self._folder / "cases" / INDEX, MAX_FILE_BYTES, decode_index)

    def _answers(self, user: str) -> dict[str, Reading]:
        file = self._file(user)
        if file.with_suffix(".csv").exists():
            raise OSError(errno.EEXIST, f"{file.stem} has a table of answers: not with the console")
        try:
            return _read(file, MAX_FILE_BYTES, decode_readings)
        except FileNotFoundError:
            return {}

    def _file(self, user: str) -> Path:
        return self._folder / "answers" / f"{reader_of(user)}.json"


def _read(file: Path, most_bytes: int, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(read_regular(file, most_bytes))
    except msgspec.DecodeError as error:
        raise OSError(errno.EINVAL, f"{file.name}: {error}") from error


def _find(index: CaseIndex, name: str) -> IndexedCase:
    """Return a case of the index: a name that is not in it never becomes a path."""
    for one in index.cases:
        if one.case == name:
            return one
    raise LookupError("there is no such case here")
