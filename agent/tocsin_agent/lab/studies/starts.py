"""Alarms in the first ten seconds of a stream: `python -m tocsin_agent.lab.studies.starts`.

The streams begin as if a patient had just been connected: brown noise, in which no beat should be
labelled and no alarm raised; and the first lead of vfdb from two seconds after a rhythm mark on,
where ventricular tachycardia or fibrillation should raise an alarm soon.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import numpy as np

from tocsin_agent.lab.ec57 import noise as reader
from tocsin_agent.lab.ec57.annotations import RHYTHM, read_annotations, read_header
from tocsin_agent.lab.evaluate.alarm_scoring import VF_RHYTHMS
from tocsin_agent.lab.evaluate.databases import select
from tocsin_agent.monitor import PatientMonitor, Report
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import load_models

LENGTH_S = 10  # of a stream
AFTER_MARK_S = 2  # from a rhythm mark to the start of the stream
AT_MOST = 5  # streams of each kind from each record
STREAMS = 150  # of brown noise
RATE_HZ = 250
VENTRICULAR = {
    "ventricular_fibrillation",
    "ventricular_tachycardia",
    "extreme_tachycardia",
    "ventricular_run",
    "couplet",
    "bigeminy",
    "frequent_ventricular",
}


def brown_noise() -> Iterator[FloatArray]:
    """Yield streams of brown noise of 2 mV, without its slowest part."""
    frequencies = np.maximum(np.fft.rfftfreq(4 * LENGTH_S * RATE_HZ, 1 / RATE_HZ), 0.5)
    for seed in range(STREAMS):
        draws = np.random.default_rng(seed).standard_normal(4 * LENGTH_S * RATE_HZ)
        walk = np.fft.irfft(np.fft.rfft(draws) / frequencies)
        yield (2.0 * walk / walk.std())[: LENGTH_S * RATE_HZ]


def connected_late() -> Iterator[tuple[str, FloatArray]]:
    """Yield a kind of rhythm and a stream that begins in it."""
    for name in select("vfdb").records:
        path = find_record(f"vfdb/{name}")[0]
        record = reader.read_record(f"vfdb/{name}")
        reference = read_annotations(
            path.with_suffix(".atr"), read_header(path.with_suffix(".hea"))
        )
        marks = [
            (at, aux)
            for at, symbol, aux in zip(
                reference.sample.tolist(), reference.symbol, reference.aux, strict=True
            )
            if symbol == RHYTHM
        ]
        taken = {"VF": 0, "VT": 0, "other": 0}
        x = record.millivolts()[:, 0]
        for (at, aux), (until, _) in pairwise([*marks, (len(x), "")]):
            start = at + AFTER_MARK_S * RATE_HZ
            kind = "VF" if aux in VF_RHYTHMS else "VT" if aux == "(VT" else "other"
            if start + LENGTH_S * RATE_HZ <= until and taken[kind] < AT_MOST:
                taken[kind] += 1
                yield kind, x[start : start + LENGTH_S * RATE_HZ]


def main() -> None:
    """Print how many streams raised an alarm and how soon, and how beats were labelled."""
    models = load_models()
    spec = StreamSpec("starts", float(RATE_HZ), ("II",))

    def monitored(x: FloatArray) -> Report:
        return PatientMonitor(spec, models=models).push(SampleBlock(spec, 0, x[:, None]))

    reports = {"brown noise": [monitored(x) for x in brown_noise()]}
    for kind, x in connected_late():
        reports.setdefault(kind, []).append(monitored(x))
    for kind, of_kind in reports.items():
        sys.stdout.write(f"{kind:12}{summary(of_kind)}\n")


def summary(reports: list[Report]) -> str:
    """Return how many streams raised an alarm and how soon, and the labels of the beats."""
    alerts = [[a for a in report.alerts if a.code in VENTRICULAR] for report in reports]
    raised = [min(a.detected_index for a in of_one) / RATE_HZ for of_one in alerts if of_one]
    after = f", median {median(raised):.1f} s" if raised else ""
    beats = [beat for report in reports for beat in report.beats]
    labelled = sum(beat.label != "Q" for beat in beats)
    ventricular = [beat.probability for beat in beats if beat.label == "V"]
    return (
        f"{len(reports):4} streams, {len(raised):3} with an alarm{after}; {len(beats)} beats, "
        f"{labelled} labelled, {len(ventricular)} as V with a confidence of at most "
        f"{max(ventricular, default=0.0):.3f}"
    )


if __name__ == "__main__":
    main()
