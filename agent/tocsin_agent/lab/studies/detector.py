"""The accuracy of the QRS detector alone: `python -m tocsin_agent.lab.studies.detector`.

Prints sensitivity and positive predictivity in the first lead (mitdb, svdb) and in the noisy
minutes of 118 and 119 with electrode motion mixed in, the error of the R peak, the latency and the
heart rate; and beats and heart rate of all leads together, as merged by `tocsin_dsp.leads.leads`.
`--noise` prints the noisy minutes alone; `--strips` draws the worst misses into `docs/strips`;
`--peers` prints the same comparison on mitdb for other detectors, which process a whole record at
once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    Annotations,
    make_annotations,
    read_annotations,
    read_header,
)
from tocsin_agent.lab.ec57.beats import BeatComparison, BeatOptions, compare_beats
from tocsin_agent.lab.evaluate import select
from tocsin_agent.lab.evaluate.stress import normal_beats
from tocsin_agent.lab.studies import CHECKOUT
from tocsin_agent.monitor.patient import FLUSH_S
from tocsin_agent.sources.base import EndOfStream, Source
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import FAINTEST_MV, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.detection.candidates import KNOWN
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.leads.leads import LeadBeat, LeadSet
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

WINDOW_S = 10.0
STRIPS = CHECKOUT / "docs" / "strips"
SHOWN = ("mitdb/203", "mitdb/222", "mitdb/108", "mitdb/105", "mitdb/116", "svdb/805")
IntArray = NDArray[np.int64]


class Detected(NamedTuple):
    """R peaks in source samples, and the seconds from each R peak to its detection."""

    r: list[int]
    latency_s: list[float]


def detect(lead_mv: FloatArray, rate_hz: float) -> Detected:
    """Run conditioning and the detector over one lead, shape (n,)."""
    spec = StreamSpec("detector", rate_hz, ("lead",))
    condition, detector = Conditioner(spec), LeadDetector()
    r, latency = [], []
    end = np.full(round(FLUSH_S * rate_hz), np.nan)  # flushes the detector, as the monitor does
    whole = np.concatenate((lead_mv, end))
    for start in range(0, len(whole), round(60 * rate_hz)):
        block = whole[start : start + round(60 * rate_hz), None]
        piece = condition.push(SampleBlock(spec, start, block))
        for beat in detector.push(piece.samples[:, 0]):
            if beat.level_mv >= FAINTEST_MV:
                r.append(condition.to_source(beat.r_index))
                samples = beat.decided - beat.r_index
                latency.append(samples / ANALYSIS_RATE_HZ + condition.delay / rate_hz)
    return Detected(r, latency)


def detect_in_all_leads(name: str) -> list[int]:
    """Run all leads of a record through conditioning, quality, detection and fusion."""
    r: list[int] = []
    with open_source(name, block_s=3600.0) as source:
        spec = source.spec
        condition = Conditioner(spec)
        quality = QualityMeter(len(spec.leads), spec.range_mv)
        leads = LeadSet(len(spec.leads))
        blocks = list(iter(lambda: _next(source), None))
    end = np.full((round(FLUSH_S * spec.rate_hz), len(spec.leads)), np.nan)
    for block in (*blocks, SampleBlock(spec, blocks[-1].stop_index, end)):
        piece = condition.push(block)
        observed = leads.push(piece, quality.push(piece.samples))
        r += [condition.to_source(o.view.r_index) for o in observed if isinstance(o, LeadBeat)]
    return r


def _next(source: Source) -> SampleBlock | None:
    try:
        return source.read(0.0)
    except EndOfStream:
        return None


def _names(database: str) -> list[str]:
    return [f"{database}/{name}" for name in select(database).records]


def reference_of(name: str) -> Annotations:
    """Read the reference beats of a record."""
    path, _ = find_record(name)
    header = read_header(path.with_name(f"{path.name}.hea"))
    return read_annotations(path.with_name(f"{path.name}.atr"), header)


def compare(
    reference: Annotations, r: list[int], record: mixer.DigitalRecord, window_s: float
) -> BeatComparison:
    """Compare beats with the reference as EC57 does."""
    found = make_annotations(
        r, ["N"] * len(r), rate_hz=record.rate_hz, record=record.name, n_samples=len(record.samples)
    )
    return compare_beats(reference, found, BeatOptions(match_window_s=window_s))


def tally(comparison: BeatComparison, noisy: NDArray[np.bool_] | None = None) -> IntArray:
    """Count found, missed and falsely found, in the noisy stretches if these are given."""
    counts = np.zeros(3, np.int64)
    for pair in comparison.pairs:
        at = pair.reference if pair.reference is not None else pair.test
        if at is None or (noisy is not None and not noisy[min(at, len(noisy) - 1)]):
            continue
        real, given = pair.label[0] in "NSVFQ", pair.label[1].upper() in "NSVFQ"
        counts += (real and given, real and not given, given and not real)
    return counts


def print_scores(what: str, counts: Iterable[int]) -> None:
    """Print sensitivity, positive predictivity and F1."""
    tp, fn, fp = (int(c) for c in counts)
    se, ppv, f1 = tp / max(tp + fn, 1), tp / max(tp + fp, 1), 2 * tp / max(2 * tp + fn + fp, 1)
    figures = f"Se {100 * se:6.2f}  +P {100 * ppv:6.2f}  F1 {100 * f1:6.2f}"
    sys.stdout.write(f"{what:34} {figures}  missed {fn:5d}  false {fp:5d}\n")


def rate_agrees(reference: IntArray, detected: IntArray, rate_hz: float) -> IntArray:
    """Count windows of ten seconds, and those with a heart rate within 5 % or 5 bpm.

    The rate is computed twice: from the mean RR interval between the beats in a window, and from
    the median, which an alert states. Windows in which the reference has fewer than three beats are
    left out.
    """
    size = WINDOW_S * rate_hz
    counts = np.zeros(3, np.int64)
    for start in np.arange(300 * rate_hz, reference[-1] - size, size):
        bpm = []
        for beats in (reference, detected):
            rr = np.diff(beats[(beats >= start) & (beats < start + size)])
            middle = (np.mean(rr), np.median(rr)) if len(rr) > 1 else (np.nan, np.nan)
            bpm.append(60 * rate_hz / np.array(middle))
        if not np.isnan(bpm[0][0]):
            near = np.abs(bpm[1] - bpm[0]) <= np.maximum(5.0, 0.05 * bpm[0])
            counts += (1, *near)
    return counts


def print_rate(counts: IntArray) -> None:
    """Print the share of windows whose heart rate agrees."""
    mean, middle = 100 * counts[1:] / counts[0]
    sys.stdout.write(
        f"  heart rate within 5 % or 5 bpm in {mean:.2f} % of {counts[0]} windows by the mean, "
        f"{middle:.2f} % by the median interval\n"
    )


def database(name: str) -> None:
    """Judge the first lead of every record, and all leads together."""
    total, worst = np.zeros(3, np.int64), []
    errors: list[FloatArray] = []
    latency: list[float] = []
    rates, rates_of_all = np.zeros(3, np.int64), np.zeros(3, np.int64)
    all_leads = np.zeros(3, np.int64)
    for record_name in _names(name):
        record, reference = mixer.read_record(record_name), reference_of(record_name)
        detected = detect(record.millivolts()[:, 0], record.rate_hz)
        comparison = compare(reference, detected.r, record, 0.15)
        counts = tally(comparison)
        total += counts
        worst.append((int(counts[1] + counts[2]), record.name, int(counts[1]), int(counts[2])))
        pairs = [p for p in comparison.pairs if p.reference is not None and p.test is not None]
        apart = (
            np.array([float((p.test or 0) - (p.reference or 0)) for p in pairs]) / record.rate_hz
        )
        errors.append(np.abs(apart - np.median(apart)))
        latency += detected.latency_s
        marks = zip(reference.sample.tolist(), reference.symbol, strict=True)
        beats = np.array([at for at, symbol in marks if symbol in AAMI_CLASS])
        rates += rate_agrees(beats, np.array(detected.r), record.rate_hz)
        together = detect_in_all_leads(record_name)
        all_leads += tally(compare(reference, together, record, 0.15))
        rates_of_all += rate_agrees(beats, np.array(together), record.rate_hz)
    print_scores(f"{name}, first lead, 150 ms", total)
    named = ", ".join(f"{r} {fn} + {fp}" for _, r, fn, fp in sorted(worst, reverse=True)[:6])
    error, latency_s = np.concatenate(errors) * 1000, np.array(latency)
    at_once = latency_s[latency_s <= (KNOWN + 100) / ANALYSIS_RATE_HZ]
    sys.stdout.write(
        f"  worst, missed + false: {named}\n"
        f"  R peak: median error {np.median(error):.1f} ms, within 20 ms "
        f"{100 * np.mean(error <= 20):.2f} %\n"
        f"  latency: median {np.median(latency_s):.3f} s, "
        f"99th centile {np.percentile(latency_s, 99):.3f} s; of the "
        f"{100 * len(at_once) / len(latency_s):.2f} % detected without search-back and support "
        f"{np.percentile(at_once, 99):.3f} s\n"
    )
    print_rate(rates)
    print_scores(f"{name}, all leads, 150 ms", all_leads)
    print_rate(rates_of_all)


def stress() -> None:
    """Judge the noisy minutes of 118 and 119."""
    for name in ("118", "119"):
        clean, reference = mixer.read_record(f"mitdb/{name}"), reference_of(f"mitdb/{name}")
        noise = mixer.read_record("nstdb/em")
        calibration = mixer.calibrate(clean, noise, normal_beats(reference))
        for snr_db in (24, 18, 12, 6, 0, -6):
            mixture = mixer.mix(clean, noise, snr_db, calibration)
            detected = detect(mixture.record.millivolts()[:, 0], clean.rate_hz)
            for window_s in (0.15, 0.05):
                comparison = compare(reference, detected.r, mixture.record, window_s)
                what = f"{name} + em {snr_db} dB, {1000 * window_s:.0f} ms"
                print_scores(what, tally(comparison, mixture.noisy()))


def draw(lead_mv: FloatArray, rate_hz: float, start: int, marks: list[tuple[int, str]]) -> str:
    """Return an SVG of ten seconds from `start`; marks are (sample, found, missed or false)."""
    width, height, top_px, points = 1000, 220, 40, 1250
    stop = min(start + round(WINDOW_S * rate_hz), len(lead_mv))
    x = lead_mv[np.linspace(start, stop - 1, points).round().astype(int)]
    top, bottom = np.percentile(x, 99.8) + 0.1, np.percentile(x, 0.2) - 0.1
    y = top_px + (top - np.clip(x, bottom, top)) / (top - bottom) * (height - top_px - 5)
    line = " ".join(f"{width * i / points:.1f},{v:.0f}" for i, v in enumerate(y))
    seconds = " ".join(f"M{width * s / WINDOW_S:.0f},{top_px} v{height}" for s in range(1, 10))
    box = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>']
    out.append(f'<rect width="{width}" height="{height}" fill="#fffaf7"/>')
    out.append(f'<path d="{seconds}" stroke="#f0d5cc" fill="none"/>')
    out.append(f'<polyline points="{line}" fill="none" stroke="#222"/>')
    looks = {"found": ("#888", "·", 28), "missed": ("#c00", "missed", 15)}
    for sample, kind in marks:
        if start <= sample < stop:
            colour, word, down = looks.get(kind, ("#06c", kind, 30))
            at = f'x="{width * (sample - start) / (WINDOW_S * rate_hz):.0f}" y="{down}"'
            out.append(f'<text {at} fill="{colour}" text-anchor="middle">{word}</text>')
    return "\n".join([*out, "</svg>", ""])


def strips() -> None:
    """Draw the ten seconds with the most errors of some of the worst records."""
    STRIPS.mkdir(exist_ok=True)
    for name in SHOWN:
        record, reference = mixer.read_record(name), reference_of(name)
        lead = record.millivolts()[:, 0]
        marks = []
        for pair in compare(reference, detect(lead, record.rate_hz).r, record, 0.15).pairs:
            real, given = pair.label[0] in "NSVFQ", pair.label[1].upper() in "NSVFQ"
            at = pair.reference if pair.reference is not None else pair.test
            if at is not None and (real or given):
                marks.append((at, "found" if real and given else "missed" if real else "false"))
        wrong = np.array([at for at, kind in marks if kind != "found"])
        size = round(WINDOW_S * record.rate_hz)
        inside = [int(np.count_nonzero((wrong >= at) & (wrong < at + size))) for at in wrong]
        start = max(int(wrong[int(np.argmax(inside))]) - round(record.rate_hz), 0)
        file = STRIPS / f"{name.replace('/', '-')}.svg"
        file.write_text(draw(lead, record.rate_hz, start, marks))
        minute, second = divmod(round(start / record.rate_hz), 60)
        sys.stdout.write(f"{file.name}: {name} from {minute}:{second:02d}\n")


def peers() -> None:
    """Judge other detectors on mitdb, each on a whole record at once."""
    import neurokit2  # noqa: PLC0415 - a peer, not a dependency
    from sleepecg import detect_heartbeats  # type: ignore[attr-defined]  # noqa: PLC0415
    from wfdb import processing  # noqa: PLC0415

    def by_neurokit2(x: FloatArray, rate: int) -> IntArray:
        clean = neurokit2.ecg_clean(x, sampling_rate=rate)
        return np.asarray(neurokit2.ecg_peaks(clean, sampling_rate=rate)[1]["ECG_R_Peaks"])

    def by_xqrs(x: FloatArray, rate: int) -> IntArray:
        detector = processing.XQRS(sig=x, fs=rate)
        detector.detect(verbose=False)
        return np.asarray(detector.qrs_inds)

    found_by: dict[str, Callable[[FloatArray, int], IntArray]] = {
        "neurokit2": by_neurokit2,
        "sleepecg": detect_heartbeats,
        "wfdb xqrs": by_xqrs,
    }
    for peer, find in found_by.items():
        total = np.zeros(3, np.int64)
        for name in _names("mitdb"):
            record = mixer.read_record(name)
            found = find(record.millivolts()[:, 0], round(record.rate_hz))
            r = sorted({int(at) for at in found})
            total += tally(compare(reference_of(name), r, record, 0.15))
        print_scores(f"mitdb, first lead: {peer}", total)


def main() -> None:
    """Print the figures."""
    for option, does in (("--peers", peers), ("--strips", strips)):
        if option in sys.argv:
            does()
            return
    if "--noise" not in sys.argv:
        database("mitdb")
        database("svdb")
    stress()


if __name__ == "__main__":
    main()
