"""The quality index on real records: `python -m tocsin_agent.lab.studies.quality`.

A record's score is the 10th percentile of its half seconds after the first two seconds. The odd
records of cinc2017 were used to choose the measure, its constants and this score; the even ones
judge them.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import read_annotations, read_header
from tocsin_agent.lab.evaluate.stress import normal_beats
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.conditioning.quality import HOP, OVER, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ, Resampler
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.signal import FloatArray

SNRS_DB = (24, 18, 12, 6, 0, -6)


def qualities(record: mixer.DigitalRecord) -> FloatArray:
    """Return the quality of each half second of each lead."""
    leads = len(record.leads)
    x = Resampler(record.rate_hz, leads).push(on_sample_grid(record.millivolts()))
    return np.array([hop.values for hop in QualityMeter(leads).push(x)])


def auc(lower: FloatArray, higher: FloatArray) -> float:
    """Return the area under the ROC: the share of pairs in order, ties counted half."""
    difference = higher[:, None] - lower[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def noise_from_ecg(parity: int) -> tuple[float, int, int]:
    """Return the AUC of `~` against N on the odd (1) or even (0) records, and both counts."""
    with (find_record("cinc2017/A00004")[0].parent / "REFERENCE.csv").open() as file:
        labels = {n: label for n, label in csv.reader(file) if int(n[1:]) % 2 == parity}
    scores: dict[str, list[float]] = {"~": [], "N": []}
    for name, label in labels.items():
        if label in scores:
            of_record = qualities(mixer.read_record(f"cinc2017/{name}"))
            scores[label].append(float(np.percentile(of_record[OVER:], 10)))
    noise, ecg = np.array(scores["~"]), np.array(scores["N"])
    return auc(noise, ecg), len(noise), len(ecg)


def mean_by_snr(record: str, noise: str) -> list[list[float]]:
    """Return the mean quality of each lead in the noisy stretches, by SNR."""
    clean, of_noise = mixer.read_record(f"mitdb/{record}"), mixer.read_record(f"nstdb/{noise}")
    path: Path = find_record(f"mitdb/{record}")[0]
    reference = read_annotations(path.with_suffix(".atr"), read_header(path.with_suffix(".hea")))
    calibration = mixer.calibrate(clean, of_noise, normal_beats(reference))
    rows = []
    for snr_db in SNRS_DB:
        mixture = mixer.mix(clean, of_noise, snr_db, calibration)
        values = qualities(mixture.record)
        middle = (np.arange(len(values)) + 0.5) * HOP / ANALYSIS_RATE_HZ * clean.rate_hz
        rows.append(values[mixture.noisy()[middle.astype(int)]].mean(axis=0).tolist())
    return rows


def main() -> None:
    """Print both tables."""
    for parity, half in ((1, "odd records, chosen on"), (0, "even records")):
        area, of_noise, of_ecg = noise_from_ecg(parity)
        sys.stdout.write(f"cinc2017, {half}: AUC {area:.4f}, {of_noise} of ~, {of_ecg} of N\n")
    for name in ("118", "119"):
        for noise in ("em", "ma", "bw"):
            rows = mean_by_snr(name, noise)
            line = "  ".join(
                f"{db} dB {a:.2f} {b:.2f}" for db, (a, b) in zip(SNRS_DB, rows, strict=True)
            )
            sys.stdout.write(f"{name} {noise}: {line}\n")


if __name__ == "__main__":
    main()
