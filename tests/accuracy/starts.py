"""What the first seconds of a stream are worth: `python tests/accuracy/starts.py`.

Ten seconds, heard by an agent that knows nothing yet, as if a patient had just been connected:
brown noise, in which nothing should be named or ring; and the first lead of vfdb from two seconds
after a rhythm mark on, where a ventricular tachycardia or fibrillation should ring soon.
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
from tocsin_agent.monitor.patient import PatientMonitor, Report
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec
from tocsin_models import load_models

HEARD_S = 10
AFTER_MARK_S = 2
AT_MOST = 5  # of each kind, from each record
STREAMS, RATE_HZ = 150, 250
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
    """Give streams of walks at random that are held near 0, 2 mV."""
    frequencies = np.maximum(np.fft.rfftfreq(4 * HEARD_S * RATE_HZ, 1 / RATE_HZ), 0.5)
    for seed in range(STREAMS):
        draws = np.random.default_rng(seed).standard_normal(4 * HEARD_S * RATE_HZ)
        walk = np.fft.irfft(np.fft.rfft(draws) / frequencies)
        yield (2.0 * walk / walk.std())[: HEARD_S * RATE_HZ]


def connected_late() -> Iterator[tuple[str, FloatArray]]:
    """Give a kind of rhythm and what an agent hears that is connected amid it."""
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
        seen = {"VF": 0, "VT": 0, "other": 0}
        x = record.millivolts()[:, 0]
        for (at, aux), (until, _) in pairwise([*marks, (len(x), "")]):
            start = at + AFTER_MARK_S * RATE_HZ
            kind = "VF" if aux in VF_RHYTHMS else "VT" if aux == "(VT" else "other"
            if start + HEARD_S * RATE_HZ <= until and seen[kind] < AT_MOST:
                seen[kind] += 1
                yield kind, x[start : start + HEARD_S * RATE_HZ]


def main() -> None:
    """Print how many streams rang and how soon, and how many beats were named and as V."""
    models = load_models()
    spec = StreamSpec("starts", float(RATE_HZ), ("II",))

    def heard(x: FloatArray) -> Report:
        return PatientMonitor(spec, models=models).push(SampleBlock(spec, 0, x[:, None]))

    reports = {"brown noise": [heard(x) for x in brown_noise()]}
    for kind, x in connected_late():
        reports.setdefault(kind, []).append(heard(x))
    for kind, of_kind in reports.items():
        sys.stdout.write(f"{kind:12}{summary(of_kind)}\n")


def summary(reports: list[Report]) -> str:
    """Say how many rang and how soon, and what the beats were called."""
    alerts = [[a for a in report.alerts if a.code in VENTRICULAR] for report in reports]
    rang = [min(a.detected_index for a in of_one) / RATE_HZ for of_one in alerts if of_one]
    after = f", median {median(rang):.1f} s" if rang else ""
    beats = [beat for report in reports for beat in report.beats]
    named = sum(beat.label != "Q" for beat in beats)
    ventricular = [beat.probability for beat in beats if beat.label == "V"]
    return (
        f"{len(reports):4} streams, {len(rang):3} rang{after}; {len(beats)} beats, {named} named, "
        f"{len(ventricular)} as V, at most {max(ventricular, default=0.0):.3f} sure"
    )


if __name__ == "__main__":
    main()
