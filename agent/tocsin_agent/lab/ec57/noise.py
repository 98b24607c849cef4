"""Add calibrated noise to a clean record, as nst(1) of the WFDB Applications Guide describes it.

After five clean minutes, two noisy minutes alternate with two clean ones until the record ends
(Moody, Muldrow and Mark, "A noise stress test for arrhythmia detectors", Computers in Cardiology
11:381-384, 1984). Each lead takes its noise with a gain of its own, so that
``SNR = 10 log10(S / (N gain**2))`` dB, where

- S is an eighth of the square of the QRS amplitude: the peak-to-peak range within 50 ms of each of
  the first 300 normal beats, the largest and smallest 5 % left out, the rest averaged;
- N is the square of the noise amplitude: the RMS about the mean in each of the first 300 seconds,
  the largest and smallest 5 % left out, the rest averaged.

The arithmetic is that by which the MIT-BIH Noise Stress Test Database was made. The manual does
not state it; it was found from the records themselves. In units of the converter, with x the clean
sample less the ADC zero, an output sample is ``trunc(x + gain * noise + offset)``, rounded toward
zero. Where the gain changes, the offset becomes ``trunc(y - x - gain * noise)`` of the output y,
the x and the noise just before, so that no step is seen; offsets therefore stay after a noisy
stretch. `mix` states what happens at the end of the noise.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources.files.wfdb_record import find_record, import_wfdb

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Rewind = Literal["nst", "level"]

MISSING = -(2**31)
"""Stands for a missing sample in `DigitalRecord.samples`, whatever the format on disk."""

LEARNING_S = 300.0
SEGMENT_S = 120.0
_MEASUREMENTS = 300
_TRIMMED = 0.05  # from either end
_HALF_WINDOW_S = 0.05
_CHUNK_S = 1.0
_SAME_RATE = 0.1  # nst(1): noise is resampled where the rates differ by 10 % or more
# The lowest code of a format stands for a missing sample: signal(5).
_MISSING_CODE = {"16": -32768, "61": -32768, "212": -2048, "310": -512, "311": -512}

_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}

# By the checksums (header(5)) of clean and noise leads: the gains at 0 dB in 118e24 ... 118e_6 of
# nstdb, read off 118e00, 118e12 and 118e24, which leave 2.962264 to 2.962293 and 7.647436 to
# 7.647482. By the definitions above they would be 2.9486 and 7.5245: what the database calls 12 dB
# is 11.96 dB in MLII and 11.86 dB in V1. How its makers measured in 1992 is not documented.
_PUBLISHED: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, ...]] = {
    ((8669, -25621), (-5959, -26067)): (2.96228, 7.64746)
}


class Lead(NamedTuple):
    """One signal's line of the header: `gain` in units of the converter per physical unit."""

    name: str
    units: str
    gain: float
    baseline: int
    adc_zero: int


@dataclass(frozen=True)
class DigitalRecord:
    """A record as its converter gave it.

    Parameters
    ----------
    name : str
        Of the record, without its folder.
    rate_hz : float
        Samples per second.
    leads : tuple of Lead
        One a column.
    samples : ndarray of int64, shape (n, leads)
        Units of the converter; `MISSING` where a sample is missing. Treated as read-only.
    """

    name: str
    rate_hz: float
    leads: tuple[Lead, ...]
    samples: IntArray

    def millivolts(self) -> FloatArray:
        """Return the samples in mV, missing ones as NaN; for leads stored in volts."""
        scale = np.array([_MV_PER_UNIT[lead.units.lower()] / lead.gain for lead in self.leads])
        baseline = np.array([lead.baseline for lead in self.leads])
        missing = self.samples == MISSING
        return np.where(missing, np.nan, (self.samples - baseline) * scale)

    def take(self, channels: Sequence[int]) -> DigitalRecord:
        """Return the record with these of its leads, in this order."""
        leads = tuple(self.leads[channel] for channel in channels)
        return replace(self, leads=leads, samples=self.samples[:, list(channels)])


class Segment(NamedTuple):
    """A stretch from `start` up to, not including, `stop`."""

    start: int
    stop: int
    noisy: bool


@dataclass(frozen=True)
class Calibration:
    """How loud the noise must be.

    Parameters
    ----------
    gains_0db : tuple of float
        Of each lead, where signal and noise are to be of one power.
    origin : {"measured", "nstdb"}
        Whether they follow from the definitions or are those of the published records.
    """

    gains_0db: tuple[float, ...]
    origin: Literal["measured", "nstdb"]

    def gains(self, snr_db: float) -> tuple[float, ...]:
        """Return the gain of each lead for a signal-to-noise ratio."""
        if not math.isfinite(snr_db):
            raise ValueError(f"a finite SNR in dB expected, {snr_db} given")
        return tuple(float(gain * 10.0 ** (-snr_db / 20.0)) for gain in self.gains_0db)


@dataclass(frozen=True)
class NoisyRecord:
    """A clean record with noise.

    Parameters
    ----------
    record : DigitalRecord
        The mixture. Its ADC zero is 0 and its baseline less by the clean record's ADC zero.
    clean, noise : str
        Names of what was mixed.
    snr_db : float
        In the noisy stretches, of every lead.
    gains : tuple of float
        What the noise of each lead was multiplied by.
    segments : tuple of Segment
        Clean and noisy stretches in turn.
    """

    record: DigitalRecord
    clean: str
    noise: str
    snr_db: float
    gains: tuple[float, ...]
    segments: tuple[Segment, ...]

    def noisy(self) -> NDArray[np.bool_]:
        """Tell of each sample whether noise was added."""
        marked = np.zeros(len(self.record.samples), dtype=bool)
        for segment in self.segments:
            marked[segment.start : segment.stop] = segment.noisy
        return marked

    def write(
        self,
        folder: Path,
        *,
        fmt: Literal["16", "212"] = "16",
        annotations: Sequence[Path] = (),
    ) -> Path:
        """Write header and signals, and copy the clean record's annotations beside them.

        Parameters
        ----------
        folder : Path
            Made if it is not there.
        fmt : {"16", "212"}
            Signal format, signal(5). What lies outside its range is put to its nearest end.
        annotations : sequence of Path
            Files such as `118.atr`, whose extensions are kept.

        Returns
        -------
        Path
            The record, without an extension.

        Notes
        -----
        The headers of nstdb keep the clean record's baseline although the ADC zero has been taken
        away, which puts every sample 5.12 mV too low. Here the baseline is right.
        """
        wfdb = import_wfdb()
        highest = 2**15 - 1 if fmt == "16" else 2**11 - 1
        codes = np.clip(self.record.samples, -highest, highest)
        codes[self.record.samples == MISSING] = _MISSING_CODE[fmt]
        leads, name = self.record.leads, self.record.name
        mixed = f"{self.clean} and {self.noise} (SNR = {self.snr_db:g} dB)"
        folder.mkdir(parents=True, exist_ok=True)
        wfdb.wrsamp(
            name,
            fs=self.record.rate_hz,
            units=[lead.units for lead in leads],
            sig_name=[lead.name for lead in leads],
            d_signal=codes,
            fmt=[fmt] * len(leads),
            adc_gain=[lead.gain for lead in leads],
            baseline=[lead.baseline for lead in leads],
            comments=[f"Mixed by tocsin from records {mixed}"],
            write_dir=str(folder),
        )
        for path in annotations:
            shutil.copyfile(path, folder / f"{name}{path.suffix}")
        return folder / name


def read_record(name: str) -> DigitalRecord:
    """Read a WFDB record as the converter gave it.

    Parameters
    ----------
    name : str
        `database/record` or a path.

    Raises
    ------
    SourceError
        `NOT_FOUND` or `MALFORMED`.
    """
    wfdb = import_wfdb()
    path, _ = find_record(name)
    try:
        read: Any = wfdb.rdrecord(str(path), physical=False)
    except FileNotFoundError as error:
        raise SourceError(SourceFault.NOT_FOUND, f"{path} names no file: {error}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        raise SourceError(SourceFault.MALFORMED, f"{path} cannot be read ({error})") from error
    samples = np.asarray(read.d_signal, np.int64)
    for column, fmt in enumerate(read.fmt):
        values = samples[:, column]
        values[values == _MISSING_CODE.get(fmt, MISSING)] = MISSING
    fields = zip(
        read.sig_name, read.units, read.adc_gain, read.baseline, read.adc_zero, strict=True
    )
    leads = tuple(
        Lead(title, unit or "mV", float(gain), baseline, zero or 0)
        for title, unit, gain, baseline, zero in fields
    )
    return DigitalRecord(path.name, float(read.fs), leads, samples)


def qrs_amplitudes(clean: DigitalRecord, normal: Sequence[int] | IntArray) -> tuple[float, ...]:
    """Measure the peak-to-peak QRS amplitude of each lead, in units of the converter.

    Parameters
    ----------
    clean : DigitalRecord
    normal : sequence of int
        Sample index of each normal beat, in time order; the first 300 are measured.

    Raises
    ------
    SourceError
        `MALFORMED` where a lead has no beat to measure.
    """
    half = round(_HALF_WINDOW_S * clean.rate_hz)
    ranges: list[list[int]] = [[] for _ in clean.leads]
    for at in np.asarray(normal, np.int64)[:_MEASUREMENTS]:
        window = clean.samples[max(at - half, 0) : at + half + 1]
        for column, values in enumerate(window.T):
            if len(values) and MISSING not in values:
                ranges[column].append(int(np.ptp(values)))
    for lead, found in zip(clean.leads, ranges, strict=True):
        if not any(found):
            raise SourceError(
                SourceFault.MALFORMED,
                f"record {clean.name} has no normal beat in {lead.name}: noise needs its amplitude",
            )
    return tuple(_trimmed_mean(found) for found in ranges)


def noise_amplitudes(noise: DigitalRecord) -> tuple[float, ...]:
    """Measure the RMS amplitude of each lead of a noise record, in units of the converter.

    Raises
    ------
    SourceError
        `MALFORMED` where the record is shorter than a second, has missing samples or is silent.
    """
    size = round(_CHUNK_S * noise.rate_hz)
    count = min(len(noise.samples) // size, _MEASUREMENTS)
    if not count or MISSING in noise.samples:
        raise SourceError(
            SourceFault.MALFORMED,
            f"noise record {noise.name}: at least a second without missing samples expected",
        )
    chunks = noise.samples[: count * size].reshape(count, size, -1).astype(np.float64)
    amplitudes = tuple(_trimmed_mean(column) for column in chunks.std(axis=1).T)
    if not all(amplitudes):
        raise SourceError(SourceFault.MALFORMED, f"noise record {noise.name} has a silent lead")
    return amplitudes


def calibrate(
    clean: DigitalRecord,
    noise: DigitalRecord,
    normal: Sequence[int] | IntArray,
    *,
    as_published: bool = True,
) -> Calibration:
    """Find the gains at which signal and noise are of one power.

    Parameters
    ----------
    clean, noise : DigitalRecord
        Where there are fewer noise leads than clean ones, they are taken in turn.
    normal : sequence of int
        Sample index of each normal beat of the clean record, in time order.
    as_published : bool
        Take the gains of nstdb for the pair of records that made its 118eNN, recognised by their
        checksums, rather than those that follow from the definitions.
    """
    published = _PUBLISHED.get((_checksums(clean), _checksums(noise))) if as_published else None
    if published is not None:
        return Calibration(published, "nstdb")
    signal = qrs_amplitudes(clean, normal)
    of_noise = noise_amplitudes(at_rate(noise, clean.rate_hz))
    gains = [
        amplitude / math.sqrt(8.0) / of_noise[i % len(of_noise)]
        for i, amplitude in enumerate(signal)
    ]
    return Calibration(tuple(gains), "measured")


def at_rate(noise: DigitalRecord, rate_hz: float) -> DigitalRecord:
    """Return the noise at another rate, by linear interpolation; itself within 10 % of it."""
    if abs(noise.rate_hz - rate_hz) < _SAME_RATE * rate_hz:
        return noise
    length = math.floor((len(noise.samples) - 1) * rate_hz / noise.rate_hz) + 1
    at = np.arange(length) * noise.rate_hz / rate_hz
    there = np.arange(len(noise.samples))
    columns = [np.rint(np.interp(at, there, column)) for column in noise.samples.T]
    return replace(noise, rate_hz=rate_hz, samples=np.column_stack(columns).astype(np.int64))


def standard_protocol(
    length: int, rate_hz: float, *, learning_s: float = LEARNING_S, segment_s: float = SEGMENT_S
) -> tuple[Segment, ...]:
    """Cut a record into the clean start and noisy and clean stretches in turn, noisy first."""
    first, step = round(learning_s * rate_hz), round(segment_s * rate_hz)
    if first < 0 or step < 1:
        raise ValueError("a start of 0 s or more and stretches longer than 0 s expected")
    bounds = [0, *range(first, length, step), length] if first < length else [0, length]
    cut = [Segment(*ends, noisy=i % 2 == 1) for i, ends in enumerate(pairwise(bounds))]
    return tuple(segment for segment in cut if segment.stop > segment.start)


def mix(
    clean: DigitalRecord,
    noise: DigitalRecord,
    snr_db: float,
    calibration: Calibration,
    *,
    protocol: Sequence[Segment] | None = None,
    rewind: Rewind = "nst",
) -> NoisyRecord:
    """Add noise to a record.

    Parameters
    ----------
    clean, noise : DigitalRecord
        The noise is brought to the clean record's rate and begins with it, so that sample i of
        the mixture has sample i of the noise whether it was used before or not.
    snr_db : float
        In the noisy stretches.
    calibration : Calibration
        Of this pair, from `calibrate`.
    protocol : sequence of Segment, optional
        Adjoining stretches from the first sample on; `standard_protocol` by default.
    rewind : {"nst", "level"}
        What is done where the noise ends and begins again. "nst" does as the records of nstdb
        show: the last sample of the noise is not used, and the new offset is computed from the
        clean sample with its ADC zero, so that the output drops by the ADC zero for good. The
        very last sample of every nstdb record is such a one. "level" uses all the noise and
        keeps the level.

    Returns
    -------
    NoisyRecord
        Named as in nstdb: 118 and em at 6 and -6 dB give `118e06` and `118e_6`.
    """
    noise = at_rate(noise, clean.rate_hz)
    gains = calibration.gains(snr_db)
    if len(gains) != len(clean.leads):
        raise ValueError(f"{len(gains)} gains given for {len(clean.leads)} leads")
    cycle = len(noise.samples) - (rewind == "nst")
    if cycle < 1 or MISSING in noise.samples:
        raise SourceError(
            SourceFault.MALFORMED, f"noise record {noise.name} is empty or has missing samples"
        )
    segments = tuple(protocol or standard_protocol(len(clean.samples), clean.rate_hz))
    paired = noise.samples[:, np.arange(len(clean.leads)) % len(noise.leads)].astype(np.float64)
    mixed = _mix(clean, paired[:cycle], np.array(gains), segments, rewind)
    leads = tuple(
        lead._replace(baseline=lead.baseline - lead.adc_zero, adc_zero=0) for lead in clean.leads
    )
    title = f"{clean.name}{noise.name[:1]}{_snr_name(snr_db)}"
    record = DigitalRecord(title, clean.rate_hz, leads, mixed)
    return NoisyRecord(record, clean.name, noise.name, snr_db, gains, segments)


def _mix(
    clean: DigitalRecord,
    noise: FloatArray,
    gains: FloatArray,
    segments: Sequence[Segment],
    rewind: Rewind,
) -> IntArray:
    zero = np.array([lead.adc_zero for lead in clean.leads])
    missing = clean.samples == MISSING
    x = np.where(missing, 0, clean.samples - zero).astype(np.float64)
    out = np.empty_like(x)
    cycle = len(noise)
    noisy_from = {segment.start: segment.noisy for segment in segments}
    bounds = sorted({*noisy_from, *range(cycle, len(x), cycle), len(x)})
    gain = offset = np.zeros(len(clean.leads))
    for start, stop in pairwise(bounds):
        if start in noisy_from:
            gain = gains * noisy_from[start]
        level = out[start - 1] - x[start - 1] if start else np.zeros(len(clean.leads))
        at = start % cycle
        if start and at == 0:
            if rewind == "nst":
                level = out[start - 1] - x[start] - zero
            offset = np.trunc(level - gain * noise[0])
        else:
            offset = np.trunc(level - gain * noise[max(at - 1, 0)])
        out[start:stop] = np.trunc(x[start:stop] + gain * noise[at : at + stop - start] + offset)
    mixed: IntArray = out.astype(np.int64)
    mixed[missing] = MISSING
    return mixed


def _trimmed_mean(measured: Sequence[float] | FloatArray) -> float:
    ordered = np.sort(np.asarray(measured, np.float64))
    drop = int(len(ordered) * _TRIMMED)
    return float(ordered[drop : len(ordered) - drop].mean())


def _checksums(record: DigitalRecord) -> tuple[int, ...]:
    """Return the 16-bit checksum of each lead, header(5)."""
    sums = (int(column.sum()) for column in record.samples.T)
    return tuple((total + 0x8000) % 0x10000 - 0x8000 for total in sums)


def _snr_name(snr_db: float) -> str:
    if snr_db < 0:
        return f"_{-snr_db:g}".replace(".", "p")
    whole, _, rest = f"{snr_db:g}".partition(".")
    return whole.zfill(2) + (f"p{rest}" if rest else "")
