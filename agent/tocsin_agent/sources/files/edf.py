"""An EDF or EDF+ recording as a source; needs the extra `edf`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.files.signal_names import ecg_leads, mv_per_unit
from tocsin_dsp.signal import MAX_LEADS, FloatArray, StreamSpec

_LOG = logging.getLogger(__name__)
_CHUNK_S = 60.0  # of signal in memory
_CHUNKS_MAPPED = 30


class EdfSource(Recording):
    """A continuous EDF or EDF+ file, read in chunks of a minute by the package edfio.

    Parameters
    ----------
    path : Path
        The file.
    leads : sequence of str, optional
        Labels, in the wanted order; by default the ECG leads (`signal_names`) of the rate that most
        of them have.
    block_s : float
        Seconds of signal in a block.

    Notes
    -----
    The start has no zone and is taken as UTC. A discontinuous file (EDF+D) is refused: its gaps
    cannot be read by edfio.
    """

    def __init__(
        self, path: Path, *, leads: Sequence[str] | None = None, block_s: float = 0.25
    ) -> None:
        super().__init__(block_s=block_s)
        self.path = path
        self._wanted = tuple(leads) if leads else None

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        import_extra("edfio", "edf", "an EDF file")
        file = _open(self.path)
        if not file.is_continuous:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} is discontinuous (EDF+D), which is not supported: convert it by "
                "`edf2mit` of the WFDB tools, which writes a record with gaps",
            )
        signals = list(file.signals)
        chosen = self._choose(signals)
        self.spec = StreamSpec(
            stream_id=self._id(),
            rate_hz=float(chosen[0].sampling_frequency),
            leads=tuple(signal.label for signal in chosen),
        )
        try:
            self.start_utc = file.startdatetime.replace(tzinfo=UTC)
        except ValueError:  # an anonymised or wrong date
            self.start_utc = None
        return _chunks(self.path, file, [signals.index(signal) for signal in chosen])

    def _choose(self, signals: list[Any]) -> list[Any]:
        names = [signal.label for signal in signals]
        there = ", ".join(names)
        if self._wanted is not None:
            absent = [name for name in self._wanted if name not in names]
            if absent:
                raise SourceError(
                    SourceFault.NOT_FOUND,
                    f"{self.path} has no signal {', '.join(absent)}; its signals are {there}",
                )
            chosen = [signals[names.index(name)] for name in self._wanted]
        else:
            volts = [s for s in signals if mv_per_unit(s.physical_dimension) is not None]
            chosen = [volts[i] for i in ecg_leads([s.label for s in volts])]
            rates = [s.sampling_frequency for s in chosen]
            kept = max(rates, key=lambda rate: (rates.count(rate), rate), default=None)
            left = [s.label for s in chosen if s.sampling_frequency != kept]
            if left:
                _LOG.warning("%s: %s not used: of another rate", self.path, ", ".join(left))
            chosen = [s for s in chosen if s.sampling_frequency == kept][:MAX_LEADS]
        if not chosen:
            raise SourceError(
                SourceFault.MALFORMED,
                f"{self.path} has no ECG lead; its signals are {there}. Choose with the leads "
                "option",
            )
        wrong = [s.label for s in chosen if mv_per_unit(s.physical_dimension) is None]
        if wrong:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.path}: {', '.join(wrong)} is not stored in volts"
            )
        if len({s.sampling_frequency for s in chosen}) > 1:
            raise SourceError(
                SourceFault.MALFORMED, f"{self.path}: choose leads of one sampling rate"
            )
        return chosen

    def _id(self) -> str:
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return f"{self.path.name}#{digest[:12]}"


def _open(path: Path) -> Any:  # noqa: ANN401
    import edfio  # noqa: PLC0415 - of an extra

    try:
        return edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1")
    except OSError as error:
        raise SourceError(
            SourceFault.NOT_FOUND, f"{path} cannot be read: {error.strerror or error}"
        ) from error
    except Exception as error:  # edfio raises errors of many kinds
        raise SourceError(SourceFault.MALFORMED, f"{path} is not an EDF file ({error})") from error


def _chunks(path: Path, file: Any, channels: list[int]) -> Generator[tuple[int, FloatArray]]:  # noqa: ANN401
    """Yield whole data records, about a minute at once."""
    record_s = float(file.data_record_duration)
    records = int(file.num_data_records)
    step = max(1, round(_CHUNK_S / record_s))
    for number, first in enumerate(range(0, records, step)):
        if number % _CHUNKS_MAPPED == 0:
            file = _open(path)  # edfio maps the file: what was read stays in memory until it closes
            signals = [file.signals[channel] for channel in channels]
        last = min(first + step, records)
        columns = []
        for signal in signals:
            values = signal.get_data_slice(first * record_s, last * record_s)
            columns.append(np.asarray(values, float) * mv_per_unit(signal.physical_dimension))
        yield first * int(signals[0].samples_per_data_record), np.column_stack(columns)
