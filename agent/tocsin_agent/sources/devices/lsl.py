"""A stream of the Lab Streaming Layer, as research amplifiers provide it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.extras import import_extra
from tocsin_agent.sources.devices.grid import SampleGrid
from tocsin_agent.sources.devices.live import LiveSource, Piece
from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import StreamSpec

_LOST_S = 0.5  # time stamps scatter by less; a later one is a gap
_RESOLVE_S = 0.5
_CORRECT_EVERY_S = 5.0
_MV = {
    "microvolts": 1e-3, "microvolt": 1e-3, "uv": 1e-3, "µv": 1e-3,
    "millivolts": 1.0, "millivolt": 1.0, "mv": 1.0, "volts": 1e3, "volt": 1e3, "v": 1e3,
}  # fmt: skip


class LslSource(LiveSource):
    """One stream by its name; it is searched for until it is found.

    LSL carries samples over TCP and buffers them, so no sample is lost while the connection lasts.
    After a break, time stamps give the samples their index.

    Parameters
    ----------
    name : str
        Name of the stream.
    unit : str, optional
        Unit of its channels, if its description does not state it: `mV`, `uV` or `V`.
    leads, block_s
        As in `LiveSource`.
    """

    def __init__(
        self,
        name: str,
        *,
        unit: str | None = None,
        leads: Sequence[str] | None = None,
        block_s: float = 0.25,
    ) -> None:
        super().__init__(leads=leads, block_s=block_s)
        if unit is not None and unit.lower() not in _MV:
            raise ValueError(f"unit {unit!r}: mV, uV or V expected")
        self.name, self._unit = name, unit
        self._inlet: Any = None
        self._stream: StreamSpec | None = None
        self._scale: np.ndarray[Any, np.dtype[np.float64]] = np.ones(1)
        self._grid = SampleGrid(1.0, _LOST_S)
        self._source_id = ""
        self._correction_s, self._corrected_s = 0.0, 0.0

    def _begin(self) -> None:
        _import()

    def _receive(self, timeout_s: float) -> list[Piece]:
        if self._inlet is None:
            self._find()
            return []
        pylsl = _import()
        try:
            rows, stamps = self._inlet.pull_chunk(timeout=timeout_s, max_samples=4096)
            now_s = time.monotonic()
            if now_s - self._corrected_s > _CORRECT_EVERY_S:
                self._correction_s, self._corrected_s = self._inlet.time_correction(1.0), now_s
        except (pylsl.LostError, pylsl.TimeoutError) as error:
            self._end()
            raise SourceError(SourceFault.LOST, f"the stream {self.name!r} is lost") from error
        if not stamps or self._stream is None:
            return []
        samples = np.asarray(rows, dtype=np.float64) * self._scale
        at_s = np.asarray(stamps, dtype=np.float64)
        to_monotonic_s = self._correction_s + now_s - pylsl.local_clock()
        cuts = [0, *(np.flatnonzero(np.diff(at_s) > _LOST_S) + 1).tolist(), len(at_s)]
        pieces = []
        for begin, stop in pairwise(cuts):
            start = self._grid.place(float(at_s[begin]), stop - begin)
            end_s = float(at_s[stop - 1]) + 1.0 / self._stream.rate_hz + to_monotonic_s
            pieces.append(Piece(self._stream, start, samples[begin:stop], end_s))
        return pieces

    def _end(self) -> None:
        inlet, self._inlet = self._inlet, None
        if inlet is not None:
            inlet.close_stream()

    def _find(self) -> None:
        pylsl = _import()
        found = pylsl.resolve_byprop("name", self.name, minimum=1, timeout=_RESOLVE_S)
        if not found:
            return
        inlet = pylsl.StreamInlet(found[0], recover=False)
        info = inlet.info(2.0)
        labels, scale = self._channels(info)
        identity = f"{info.source_id()}@{info.created_at():.6f}"
        if identity != self._source_id:
            self._source_id = identity
            self._grid = SampleGrid(float(info.nominal_srate()), _LOST_S)
        try:
            spec = StreamSpec(f"lsl/{self.name}/{identity}", float(info.nominal_srate()), labels)
        except SignalError as error:
            raise SourceError(SourceFault.MALFORMED, f"lsl:{self.name}: {error}") from error
        self._stream, self._scale, self._inlet = spec, scale, inlet
        self._corrected_s = -_CORRECT_EVERY_S

    def _channels(
        self,
        info: Any,  # noqa: ANN401 - pylsl has no types
    ) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.float64]]]:
        """Return the names of the leads, and the millivolts in one unit of each."""
        labels, scale = [], []
        channel = info.desc().child("channels").child("channel")
        for number in range(info.channel_count()):
            labels.append(channel.child_value("label") or f"ECG{number + 1}")
            unit = channel.child_value("unit") or self._unit or ""
            if unit.lower() not in _MV:
                raise SourceError(
                    SourceFault.MALFORMED,
                    f"lsl:{self.name}: channel {labels[-1]} has the unit {unit!r}; state the unit: "
                    f"lsl:{self.name}?unit=uV",
                )
            scale.append(_MV[unit.lower()])
            channel = channel.next_sibling("channel")
        return tuple(labels), np.array(scale)


def _import() -> ModuleType:
    return import_extra("pylsl", "lsl", "the Lab Streaming Layer")
