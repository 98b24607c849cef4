"""Fit and print the weights of `tocsin_dsp.detection.shapes`.

    python -m tocsin_training.shapes.fit

The candidates come from records of DS1 without 118 and 119, which are the test of the noise stress
test: clean, and with `em` and `ma` of nstdb mixed in. The noise begins two minutes later than in
that test, so that the fit uses none of its noisy minutes of `em`. A candidate within 0.1 s of a
reference beat is a beat. Support decides all the time while the lead is noisy, however probable the
candidates are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.detection import shapes
from tocsin_dsp.detection.qrs import LeadDetector
from tocsin_dsp.detection.support import SupportDesign
from tocsin_dsp.signal import FloatArray, SampleBlock, StreamSpec

CLEAN = "101 106 108 109 112 114 115 116 122 124 203 205 208 209 215 220 223 230".split()
NOISY = "101 106 114 116 203 207 208 209 220".split()
MIXED = (("em", 12), ("em", 6), ("em", 0), ("em", -6), ("ma", 0))
NOISY_S = 16 * 60  # s, length of a mixture
CLEAN_WEIGHT = 2.0  # weight of a candidate in a clean record
TOWARDS_BEATS = 0.6  # added to the log odds: a missed beat is worse than a false one


def candidates(
    record: mixer.DigitalRecord, beats: FloatArray
) -> Iterator[tuple[list[float], bool]]:
    """Yield the measures of every candidate weighed after the fifth minute, and if it is a beat."""
    noted: list[tuple[int, tuple[float, ...]]] = []
    weigh, log_odds = shapes.Shapes.weigh, shapes.log_odds
    measures: list[tuple[float, ...]] = []

    def noting(*args: object) -> shapes.Weighed:
        weighed = weigh(*args)  # type: ignore[arg-type]
        noted.append((weighed.r_index, measures[-1]))
        return weighed

    def measured(given: tuple[float, ...]) -> float:
        measures.append(given)
        return log_odds(given)

    shapes.Shapes.weigh, shapes.log_odds = noting, measured  # type: ignore[assignment]
    try:
        spec = StreamSpec("fit", record.rate_hz, ("lead",))
        lead = Conditioner(spec).push(SampleBlock(spec, 0, record.millivolts()[:, :1]))
        detector = LeadDetector(support=SupportDesign(improbable=np.inf, hand_back=-1))
        detector.push(lead.samples[:, 0])
    finally:
        shapes.Shapes.weigh, shapes.log_odds = weigh, log_odds  # type: ignore[method-assign]
    for r_index, values in noted:
        if r_index > 300 * 250:
            yield list(values), bool(np.abs(beats - r_index / 250).min() < 0.1)


def read(name: str) -> tuple[mixer.DigitalRecord, list[int], list[int]]:
    """Return a record, its beats, and its normal beats."""
    path, _ = find_record(f"mitdb/{name}")
    header = read_header(path.with_name(f"{name}.hea"))
    reference = read_annotations(path.with_name(f"{name}.atr"), header)
    marks = list(zip(reference.sample.tolist(), reference.symbol, strict=True))
    beats = [at for at, symbol in marks if symbol in AAMI_CLASS]
    normal = [at for at, symbol in marks if AAMI_CLASS.get(symbol) == "N"]
    return mixer.read_record(f"mitdb/{name}"), beats, normal


def main() -> None:
    """Print the weights."""
    rows: list[list[float]] = []
    true: list[bool] = []
    weight: list[float] = []
    for name in dict.fromkeys(CLEAN + NOISY):
        record, beats, normal = read(name)
        seconds = np.array(beats) / record.rate_hz
        parts = [(record, CLEAN_WEIGHT)] if name in CLEAN else []
        for kind, snr_db in MIXED if name in NOISY else ():
            noise = mixer.read_record(f"nstdb/{kind}")
            later = np.roll(noise.samples, -round(120 * noise.rate_hz), axis=0)
            noise = replace(noise, samples=later)
            calibration = mixer.calibrate(record, noise, normal)
            mixed = mixer.mix(record, noise, snr_db, calibration).record
            end = round(NOISY_S * record.rate_hz)
            parts.append((replace(mixed, samples=mixed.samples[:end]), 1.0))
        for part, counts in parts:
            for values, is_beat in candidates(part, seconds):
                rows.append(values[1:])
                true.append(is_beat)
                weight.append(counts)
    model = LogisticRegression(max_iter=5000).fit(rows, true, weight)
    fitted = [float(model.intercept_[0]) + TOWARDS_BEATS, *model.coef_[0].tolist()]
    for measure, value in zip(shapes.WEIGHTS, fitted, strict=True):
        print(f"{measure:16} {value:6.2f}")


if __name__ == "__main__":
    main()
