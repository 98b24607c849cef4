"""The live ECG of a stream as messages: cuts blocks into pieces, lead by lead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tocsin_agent.delivery.settings import WaveformSettings
from tocsin_agent.messages.topics import Topics
from tocsin_agent.messages.waveform import GAIN_UV, Waveform, WaveformBeat, encode_waveform
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.stream import Beat
from tocsin_dsp.signal import SampleBlock, StreamSpec

MAX_BEATS = 256
_LONGEST_S = 1.0  # of a piece


class Waveforms:
    """Collects samples until a piece is full, and sends it; a gap begins a new piece.

    Parameters
    ----------
    settings : WaveformSettings
        Which leads, and how long a piece is.
    topics : Topics
        The device's.
    send : callable
        Gets topic and payload; never blocks.
    """

    def __init__(
        self, settings: WaveformSettings, topics: Topics, send: Callable[[str, bytes], None]
    ) -> None:
        self._settings, self._topics, self._send = settings, topics, send
        self._spec: StreamSpec | None = None
        self._start_index = 0
        self._parts: list[np.ndarray] = []
        self._rows = 0
        self._beats: list[WaveformBeat] = []

    def leads(self) -> tuple[str, ...]:
        """Return the leads that are published now; any thread."""
        spec = self._spec
        return () if spec is None else tuple(spec.leads[column] for column in self._columns(spec))

    def take(self, block: SampleBlock, clock: StreamClock, beats: Sequence[Beat]) -> None:
        """Take a block that was monitored, and the beats that were labelled by it."""
        spec = block.spec
        if not self._columns(spec) or spec.marks_only:
            return
        if spec != self._spec or block.start_index != self._start_index + self._rows:
            if self._spec is not None and self._rows:
                self._flush(clock)
            self._spec, self._start_index = spec, block.start_index
        self._beats += [WaveformBeat(beat.r_index, beat.label) for beat in beats]
        longest = max(1, int(_LONGEST_S * spec.rate_hz))
        for first in range(0, len(block), longest):
            part = block.samples_mv[first : first + longest]
            self._parts.append(part)
            self._rows += len(part)
            if self._rows >= self._settings.piece_s * spec.rate_hz:
                self._flush(clock)

    def _columns(self, spec: StreamSpec) -> list[int]:
        wanted = self._settings.leads
        return [i for i, lead in enumerate(spec.leads) if "*" in wanted or lead in wanted]

    def _flush(self, clock: StreamClock) -> None:
        spec = self._spec
        assert spec is not None  # noqa: S101 - there are samples
        samples = np.concatenate(self._parts)
        beats, self._beats = tuple(self._beats[-MAX_BEATS:]), []
        for column in self._columns(spec):
            lead = spec.leads[column]
            piece = Waveform(
                site=self._topics.site,
                device=self._topics.device,
                stream=spec.stream_id,
                lead=lead,
                rate_hz=spec.rate_hz,
                start_index=self._start_index,
                at=clock.utc(self._start_index),
                gain_uv=GAIN_UV,
                samples=Waveform.pack(samples[:, column]),
                beats=beats,
            )
            self._send(self._topics.waveform(lead), encode_waveform(piece))
        self._start_index += self._rows
        self._parts, self._rows = [], 0
