"""A synthetic patient that follows a script, with the reference annotation of what it does.

A beat is a sum of Gaussians along the heart cycle, after McSharry, Clifford, Tarassenko and Smith
(IEEE Trans. Biomed. Eng. 50:289, 2003), but placed directly in time. Each Gaussian has a vector in
the axes of the body, and a lead is its projection, so all leads show the same heart.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.base import Recording
from tocsin_agent.sources.scripted.script import Disturbance, Event, Script, ScriptedRhythm, Segment
from tocsin_dsp.errors import SignalError
from tocsin_dsp.signal import FloatArray, StreamSpec

IndexArray = NDArray[np.int64]

# A converter like that of the MIT-BIH recordings: 11 bits, 5 µV a step.
STEP_MV = 0.005
RANGE_MV = (-5.12, 5.115)

_PAGE_S = 10.0  # samples are made in pages of this length, so they do not depend on the blocks
_FIRST_BEAT_S = 0.4

# Lead axes: x to the patient's left, y to the feet, z to the back.
_AXES: dict[str, tuple[float, float, float]] = {
    "I": (1.0, 0.0, 0.0),
    "II": (0.5, 0.87, 0.0),
    "III": (-0.5, 0.87, 0.0),
    "AVR": (-0.75, -0.44, 0.0),
    "AVL": (0.75, -0.44, 0.0),
    "AVF": (0.0, 0.87, 0.0),
    "V1": (-0.45, 0.05, -0.9),
    "V2": (-0.1, 0.05, -1.2),
    "V3": (0.35, 0.1, -1.1),
    "V4": (0.8, 0.15, -0.7),
    "V5": (1.0, 0.15, -0.2),
    "V6": (0.95, 0.15, 0.2),
}
_AXES["MLII"] = _AXES["II"]


@dataclass(frozen=True, slots=True)
class _Wave:
    """One Gaussian: its time from the R peak, its standard deviation, and its vector in mV."""

    at_s: float
    width_s: float
    vector_mv: tuple[float, float, float]
    follows_rate: bool = False  # P and T move with the RR interval, the QRS does not


_P = _Wave(-0.16, 0.022, (0.08, 0.11, -0.04), follows_rate=True)
_QRS = (
    _Wave(-0.024, 0.008, (-0.12, -0.06, -0.18)),
    _Wave(0.0, 0.011, (0.85, 0.85, 0.55)),
    _Wave(0.028, 0.009, (-0.2, -0.18, 0.15)),
)
_T = _Wave(0.28, 0.045, (0.22, 0.2, -0.12), follows_rate=True)
_WIDE = (
    _Wave(-0.045, 0.022, (-0.15, 0.3, -0.5)),
    _Wave(0.0, 0.03, (-0.55, 1.5, -1.1)),
    _Wave(0.06, 0.028, (0.35, -0.5, 0.5)),
    _Wave(0.27, 0.06, (0.25, -0.55, 0.4)),
)
_BEATS: dict[str, tuple[_Wave, ...]] = {
    "N": (_P, *_QRS, _T),
    "S": (_Wave(-0.12, 0.018, (-0.05, -0.1, 0.03)), *_QRS, _T),
    "V": _WIDE,
    # A fusion beat: half of a normal and half of a ventricular beat, with the sinus P wave.
    "F": tuple(
        _Wave(wave.at_s, wave.width_s, (a * 0.5, b * 0.5, c * 0.5), wave.follows_rate)
        for wave in (_P, *_QRS, _T, *_WIDE)
        for a, b, c in [wave.vector_mv]
    ),
    "A": (*_QRS, _T),  # conducted in atrial fibrillation: no P wave; labelled N
    "P": (_P,),  # a P wave alone; not a beat in the reference
}
_REACH_S = 1.0  # every wave of a beat lies within this distance of its R peak


class Episode(NamedTuple):
    """A rhythm or a disturbance, from one sample to another.

    Parameters
    ----------
    kind : str
        A value of `ScriptedRhythm` or of `Disturbance`.
    start_index, stop_index : int
        Source sample indices, the second exclusive.
    leads : tuple of str
        The leads that it affects.
    """

    kind: str
    start_index: int
    stop_index: int
    leads: tuple[str, ...]


class ScriptedTruth(NamedTuple):
    """The reference annotation of a synthetic recording.

    Parameters
    ----------
    beats : ndarray of int64
        Sample index of each R peak, ascending, including those under a lead fault or in a gap.
    labels : tuple of str
        `N`, `S`, `V` or `F` for each beat.
    rhythms : tuple of Episode
        The segments of the script.
    events : tuple of Episode
        The disturbances of the script.
    """

    beats: IndexArray
    labels: tuple[str, ...]
    rhythms: tuple[Episode, ...]
    events: tuple[Episode, ...]


class _Beat(NamedTuple):
    at_s: float
    kind: str  # a key of _BEATS
    rr_s: float


class SyntheticSource(Recording):
    """A scripted patient: `spec.synthetic` is True, and every alert states it.

    Samples are made ten seconds at a time and depend on the script alone, not on the blocks. In
    memory are those ten seconds and one small tuple a beat.

    Parameters
    ----------
    script : Script
        Rhythms, disturbances, leads and rate.
    block_s : float
        Seconds of signal in a block.

    Raises
    ------
    SourceError
        `MALFORMED` for a lead that has no known axis or is named by an event but not recorded.
    """

    def __init__(self, script: Script, *, block_s: float = 0.25) -> None:
        super().__init__(block_s=block_s)
        self.script = script
        self._axes = _axes(script)
        try:
            self.spec = StreamSpec(
                stream_id=f"synthetic/{script.name}-{script.fingerprint}",
                rate_hz=script.rate_hz,
                leads=script.leads,
                range_mv=RANGE_MV,
                synthetic=True,
            )
        except SignalError as error:
            raise SourceError(SourceFault.MALFORMED, f"scenario {script.name}: {error}") from error
        self._starts_s = np.concatenate([[0.0], np.cumsum([s.seconds for s in script.segments])])
        self._beats = [
            beat
            for number, segment in enumerate(script.segments)
            for beat in _beats_of(segment, float(self._starts_s[number]), (script.seed, number))
        ]
        self._beat_times = np.array([beat.at_s for beat in self._beats], dtype=np.float64)

    def truth(self) -> ScriptedTruth:
        """Return the reference annotation, without making a sample."""
        script = self.script
        # a P wave alone is not a beat; a beat whose peak lies after the end is not recorded
        indices = np.rint(self._beat_times * script.rate_hz).astype(np.int64)
        kept = [
            (int(index), "N" if beat.kind == "A" else beat.kind)
            for index, beat in zip(indices, self._beats, strict=True)
            if beat.kind != "P" and index < script.samples
        ]
        return ScriptedTruth(
            np.array([index for index, _ in kept], dtype=np.int64),
            tuple(label for _, label in kept),
            tuple(
                Episode(
                    segment.rhythm.value,
                    self._index(start),
                    self._index(start + segment.seconds),
                    script.leads,
                )
                for segment, start in zip(
                    script.segments, self._starts_s[:-1].tolist(), strict=True
                )
            ),
            tuple(
                Episode(
                    event.kind.value,
                    self._index(event.at_s),
                    self._index(event.at_s + event.seconds),
                    event.leads or script.leads,
                )
                for event in script.events
            ),
        )

    def _index(self, at_s: float) -> int:
        return min(round(at_s * self.script.rate_hz), self.script.samples)

    def _start(self) -> Generator[tuple[int, FloatArray]]:
        return self._pages()

    def _pages(self) -> Generator[tuple[int, FloatArray]]:
        script = self.script
        rows = round(_PAGE_S * script.rate_hz)
        truth = self.truth()
        lost = [e for e in truth.events if e.kind == Disturbance.GAP]
        for number, first in enumerate(range(0, script.samples, rows)):
            last = min(first + rows, script.samples)
            page = self._page(number, first, last)
            there = np.ones(last - first, dtype=bool)
            for gap in lost:
                there[max(gap.start_index - first, 0) : max(gap.stop_index - first, 0)] = False
            edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                yield first + start, page[start:stop]

    def _page(self, number: int, first: int, last: int) -> FloatArray:
        script = self.script
        times = np.arange(first, last, dtype=np.float64) / script.rate_hz
        heart = self._beat_waves(times)
        for index, segment in enumerate(script.segments):
            start, stop = self._starts_s[index], self._starts_s[index + 1]
            span = slice(*np.searchsorted(times, [start, stop]).tolist())
            if span.start == span.stop:
                continue
            draws = np.random.default_rng([script.seed, index, 1])
            if segment.rhythm is ScriptedRhythm.VENTRICULAR_FIBRILLATION:
                heart[span] += _fibrillation(times[span] - start, segment, draws)
            elif segment.rhythm is ScriptedRhythm.ATRIAL_FIBRILLATION:
                heart[span] += _atrial_waves(times[span] - start, draws)
        amplifier = np.random.default_rng([script.seed, number, 2])
        noise = amplifier.standard_normal((last - first, len(script.leads)))
        samples = heart @ self._axes.T + script.noise_mv * noise
        for index, event in enumerate(script.events):
            self._disturb(samples, times, event, (index, number))
        return np.clip(np.rint(samples / STEP_MV) * STEP_MV, *RANGE_MV)

    def _beat_waves(self, times: FloatArray) -> FloatArray:
        """Sum the waves of every beat near these times into a vector of shape (n, 3)."""
        heart = np.zeros((len(times), 3))
        near = np.searchsorted(self._beat_times, [times[0] - _REACH_S, times[-1] + _REACH_S])
        for beat in self._beats[near[0] : near[1]]:
            stretch = math.sqrt(min(max(beat.rr_s, 0.3), 1.2))
            for wave in _BEATS[beat.kind]:
                factor = stretch if wave.follows_rate else 1.0
                centre, width = beat.at_s + wave.at_s * factor, wave.width_s * factor
                begin, end = np.searchsorted(times, [centre - 5 * width, centre + 5 * width])
                if begin < end:
                    bell = np.exp(-0.5 * ((times[begin:end] - centre) / width) ** 2)
                    heart[begin:end] += bell[:, np.newaxis] * np.array(wave.vector_mv)
        return heart

    def _disturb(
        self, samples: FloatArray, times: FloatArray, event: Event, key: tuple[int, int]
    ) -> None:
        script = self.script
        span = slice(*np.searchsorted(times, [event.at_s, event.at_s + event.seconds]).tolist())
        if span.start == span.stop or event.kind is Disturbance.GAP:
            return
        local = times[span] - event.at_s
        columns = [script.leads.index(name) for name in event.leads or script.leads]
        for column in columns:
            draws = np.random.default_rng([script.seed, key[0], column, 3])
            piece = samples[span, column]
            if event.kind is Disturbance.MUSCLE:
                pages = np.random.default_rng([script.seed, *key, column, 4])
                white = pages.standard_normal(round(_PAGE_S * script.rate_hz))[span]
                bursts = 1.0 + 0.5 * np.sin(2 * np.pi * (0.3 * local + draws.random()))
                samples[span, column] = piece + event.amplitude_mv * bursts * white
            else:
                samples[span, column] = _disturbed(piece, local, event, draws)


def _disturbed(
    piece: FloatArray, local_s: FloatArray, event: Event, draws: np.random.Generator
) -> FloatArray:
    replaced = {
        Disturbance.LEAD_FLAT: 0.0,
        Disturbance.LEAD_MISSING: np.nan,
        Disturbance.LEAD_RAIL: RANGE_MV[1],
    }
    if event.kind in replaced:
        return np.full_like(piece, replaced[event.kind])
    if event.kind is Disturbance.SATURATION:
        return piece * 40.0  # the page is clipped to the range afterwards
    added = np.zeros_like(piece)
    if event.kind is Disturbance.MAINS:
        added = np.sin(2 * np.pi * (event.frequency_hz * local_s + draws.random()))
    elif event.kind is Disturbance.BASELINE_WANDER:
        for frequency_hz, share in ((0.05, 0.4), (0.15, 0.3), (0.27, 0.3)):
            added += share * np.sin(2 * np.pi * (frequency_hz * local_s + draws.random()))
    else:  # motion: about one bump a second, 50 to 200 ms wide, of either sign
        count = max(1, round(event.seconds))
        centres = draws.uniform(0.0, event.seconds, count)
        widths = draws.uniform(0.05, 0.2, count)
        heights = draws.uniform(-1.0, 1.0, count)
        for centre, width, height in zip(centres, widths, heights, strict=True):
            added += height * np.exp(-0.5 * ((local_s - centre) / width) ** 2)
    return piece + event.amplitude_mv * added


def _axes(script: Script) -> FloatArray:
    unknown = [lead for lead in script.leads if lead.upper() not in _AXES]
    if unknown:
        raise SourceError(
            SourceFault.MALFORMED,
            f"scenario {script.name}: no axis is known for lead {', '.join(unknown)}; "
            f"known are {', '.join(_AXES)}",
        )
    for event in script.events:
        absent = [lead for lead in event.leads if lead not in script.leads]
        if absent:
            raise SourceError(
                SourceFault.MALFORMED,
                f"scenario {script.name}: the event {event.kind.value} at {event.at_s:g} s names "
                f"lead {', '.join(absent)}; the leads are {', '.join(script.leads)}",
            )
    return np.array([_AXES[lead.upper()] for lead in script.leads], dtype=np.float64)


def _beats_of(segment: Segment, start_s: float, key: tuple[int, int]) -> list[_Beat]:
    """Place the beats of one segment; none lies outside it."""
    if segment.rhythm is ScriptedRhythm.VENTRICULAR_FIBRILLATION:
        return []
    if segment.rhythm is ScriptedRhythm.ASYSTOLE and not segment.p_waves:
        return []
    draws = np.random.default_rng([*key, 0])
    ventricular = segment.rhythm is ScriptedRhythm.VENTRICULAR_TACHYCARDIA
    mean_rr_s = 60.0 / (segment.rate_bpm or (180.0 if ventricular else 75.0))
    pattern = {
        ScriptedRhythm.VENTRICULAR_TACHYCARDIA: "V",
        ScriptedRhythm.ATRIAL_FIBRILLATION: "A",
        ScriptedRhythm.ASYSTOLE: "P",
    }.get(segment.rhythm, segment.pattern)
    irregular = segment.rhythm is ScriptedRhythm.ATRIAL_FIBRILLATION
    beats: list[_Beat] = []
    end_s = start_s + segment.seconds
    at_s = start_s + min(_FIRST_BEAT_S, mean_rr_s / 2)
    position = 0
    while at_s < end_s:
        kind = pattern[position % len(pattern)]
        following = pattern[(position + 1) % len(pattern)]
        rr_s = mean_rr_s * _stretch(draws, segment.variability, irregular=irregular)
        if kind != "-":
            beats.append(_Beat(at_s, kind, rr_s))
        at_s += rr_s * _coupling(kind, following, segment, mean_rr_s, regular=ventricular)
        position += 1
    return beats


def _stretch(draws: np.random.Generator, variability: float, *, irregular: bool) -> float:
    if irregular:  # in atrial fibrillation each interval is independent
        return float(np.clip(draws.normal(1.0, 0.24), 0.5, 1.8))
    return float(np.clip(draws.normal(1.0, variability), 0.7, 1.3))


def _coupling(
    kind: str, following: str, segment: Segment, mean_rr_s: float, *, regular: bool
) -> float:
    """Return the interval to the next beat, in sinus intervals."""
    if regular:
        return 1.0
    if kind == "V" and following == "V":
        return (60.0 / segment.ectopic_bpm) / mean_rr_s
    if following == "V":
        return 0.6
    if following == "S":
        return 0.65
    if kind == "V":
        return 1.4  # the compensatory pause
    return 1.0


def _fibrillation(local_s: FloatArray, segment: Segment, draws: np.random.Generator) -> FloatArray:
    """Return chaotic ventricular waves of shape (n, 3): wandering frequency and amplitude."""
    out = np.zeros((len(local_s), 3))
    for share, spread in ((0.6, 0.0), (0.3, 0.8), (0.25, -0.7)):
        mean_hz = segment.frequency_hz + spread
        wander = np.zeros_like(local_s)
        for rate_hz, swing_hz in ((0.11, 0.5), (0.29, 0.3)):
            wander += (swing_hz / rate_hz) * np.sin(
                2 * np.pi * (rate_hz * local_s + draws.random())
            )
        phase = 2 * np.pi * (mean_hz * local_s + draws.random()) + wander
        swell = 1.0 + 0.35 * np.sin(
            2 * np.pi * (draws.uniform(0.1, 0.4) * local_s + draws.random())
        )
        direction = draws.normal(0.0, 0.35, 3) + np.array([0.3, 0.9, -0.5])
        out += (segment.amplitude_mv * share * swell * np.sin(phase))[:, np.newaxis] * direction
    fade_in = np.clip(local_s / 0.3, 0.0, 1.0)
    fade_out = np.clip((segment.seconds - local_s) / 0.3, 0.0, 1.0)
    return out * np.minimum(fade_in, fade_out)[:, np.newaxis]


def _atrial_waves(local_s: FloatArray, draws: np.random.Generator) -> FloatArray:
    """Return f waves of shape (n, 3): 5 to 8 Hz, below 0.1 mV, largest towards V1."""
    out = np.zeros((len(local_s), 3))
    for frequency_hz in draws.uniform(5.0, 8.0, 3):
        wave = 0.025 * np.sin(2 * np.pi * (frequency_hz * local_s + draws.random()))
        out += wave[:, np.newaxis] * np.array([-0.3, 0.5, -1.0])
    return out
