"""Write what the monitor found as a WFDB annotation file, so that other programs can score it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.messages.alert import Alert, Phase
from tocsin_agent.monitor.alarms.table import ALARMS
from tocsin_agent.sources.files.wfdb_record import import_wfdb

RHYTHMS = {code: alarm.wfdb for code, alarm in ALARMS.items() if alarm.wfdb is not None}
"""Alarm code to WFDB rhythm, the gravest first."""
# AAMI class to WFDB mnemonic; each is also the mnemonic that the comparison programs map back.
MNEMONICS = {"N": "N", "S": "S", "V": "V", "F": "F", "Q": "Q"}


class Beat(Protocol):
    """A labelled beat, such as `tocsin_agent.monitor.timeline.LabelledBeat`."""

    @property
    def r_index(self) -> int:
        """Source sample index of the R peak."""

    @property
    def label(self) -> str:
        """AAMI class: N, S, V, F or Q."""


class RhythmChange(NamedTuple):
    """A change of rhythm at one sample.

    Parameters
    ----------
    start_index : int
        Source sample index.
    aux : str
        WFDB rhythm string, such as `(N`, `(VT`, `(VFL`, `(AFIB`, `(ASYS`.
    """

    start_index: int
    aux: str


def write_annotations(
    record_name: str,
    directory: Path,
    extension: str,
    beats: Iterable[Beat],
    *,
    rate_hz: float,
    rhythm: Sequence[RhythmChange] = (),
) -> Path:
    """Write beats and rhythm changes as `directory/record_name.extension`.

    Annotations are sorted by sample; at one sample the rhythm change precedes the beat, as the
    programs of the format write it. Of several beats at one sample the first is kept. Without any
    annotation a valid empty file is written, so that a scorer counts every reference beat as missed
    instead of failing on a missing file.

    Parameters
    ----------
    record_name : str
        Name of the record without folder; letters, digits, `_` and `-`.
    directory : Path
        Where to write; created if it does not exist.
    extension : str
        The annotator's name: letters only.
    beats : iterable of Beat
        In any order.
    rate_hz : float
        Samples per second of the indices; written into the file.
    rhythm : sequence of RhythmChange
        In any order.

    Returns
    -------
    Path
        The file, which gets its name only when it is complete.

    Raises
    ------
    SourceError
        `MALFORMED` for a name, label, index or rhythm string that the format does not allow.
    MissingExtraError
        If wfdb is not installed.
    """
    rows = {_beat_row(beat) for beat in _first_at_each(beats)} | set(map(_row, rhythm))
    marks = (Mark(at, symbol, aux) for at, _, symbol, aux in sorted(rows))
    return write_marks(record_name, directory, extension, marks, rate_hz=rate_hz)


class Mark(NamedTuple):
    """One annotation: source sample index, WFDB mnemonic, and a text that may be empty."""

    sample: int
    symbol: str
    aux: str = ""


def write_marks(
    record_name: str, directory: Path, extension: str, marks: Iterable[Mark], *, rate_hz: float
) -> Path:
    """Write annotations of any kind; parameters and errors as in `write_annotations`.

    Those at one sample keep their order.
    """
    wfdb = import_wfdb()
    if not re.fullmatch(r"[\w-]+", record_name) or not re.fullmatch(r"[A-Za-z]+", extension):
        raise SourceError(
            SourceFault.MALFORMED,
            f"{record_name}.{extension}: a record's name has letters, digits, _ and -, an "
            "annotator's only letters",
        )
    rows = sorted(marks, key=lambda mark: mark.sample)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{record_name}.{extension}"
    part = directory / f"{record_name}.{extension}part"
    if rows:
        wfdb.wrann(
            record_name,
            f"{extension}part",
            np.array([row.sample for row in rows], dtype=np.int64),
            symbol=[row.symbol for row in rows],
            aux_note=[row.aux for row in rows],
            fs=rate_hz,
            write_dir=str(directory),
        )
    else:
        part.write_bytes(
            b"\x00\x00"
        )  # the end mark of the format; wfdb does not write an empty file
    part.replace(target)
    return target


def rhythm_from_alerts(alerts: Sequence[Alert]) -> list[RhythmChange]:
    """Return the rhythm that alerts report: that of the gravest open episode, else normal.

    Parameters
    ----------
    alerts : sequence of Alert
        Of one stream, in the order in which they were raised; only onsets and ends count.
    """
    steps = [(0, "", 0)]
    for alert in alerts:
        if alert.code in RHYTHMS and alert.phase is Phase.ONSET:
            steps.append((alert.onset_index, alert.code, 1))
        elif alert.code in RHYTHMS and alert.phase is Phase.END:
            steps.append((alert.detected_index, alert.code, -1))
    changes: list[RhythmChange] = []
    under_way: Counter[str] = Counter()
    for index, together in groupby(sorted(steps), key=lambda step: step[0]):
        for _, code, step in together:
            under_way[code] += step
        aux = next((rhythm for code, rhythm in RHYTHMS.items() if under_way[code] > 0), "(N")
        if not changes or changes[-1].aux != aux:
            changes.append(RhythmChange(index, aux))
    return changes


def _first_at_each(beats: Iterable[Beat]) -> Iterable[Beat]:
    kept: dict[int, Beat] = {}
    for beat in beats:
        kept.setdefault(int(beat.r_index), beat)
    return kept.values()


def _beat_row(beat: Beat) -> tuple[int, int, str, str]:
    if beat.label not in MNEMONICS:
        raise SourceError(
            SourceFault.MALFORMED,
            f"a beat at sample {beat.r_index} is labelled {beat.label!r}: one of "
            f"{', '.join(MNEMONICS)} expected",
        )
    return (_checked_index(beat.r_index), 1, MNEMONICS[beat.label], "")


def _row(change: RhythmChange) -> tuple[int, int, str, str]:
    if not re.fullmatch(r"\([A-Z0-9]{1,12}", change.aux):
        raise SourceError(
            SourceFault.MALFORMED,
            f"a rhythm is named {change.aux!r}: a bracket and capitals expected, such as `(VT`",
        )
    return (_checked_index(change.start_index), 0, "+", change.aux)


def _checked_index(index: int) -> int:
    if index < 0:
        raise SourceError(
            SourceFault.MALFORMED, f"an annotation at sample {index}: before the record begins"
        )
    return int(index)
