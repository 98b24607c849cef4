"""The noise stress test: beat detection at decreasing signal-to-noise ratios.

Each mixture is processed by a monitor of its own, and its beats are compared with the reference of
the clean record by `beats.compare_beats`, from the end of the learning period on. "Evaluating ECG
analyzers" in the WFDB Applications Guide explains the figures: the most informative one is the
smallest SNR at which they are acceptable.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import (
    AAMI_CLASS,
    Annotations,
    make_annotations,
    read_annotations,
    read_header,
    require_beats,
)
from tocsin_agent.lab.ec57.beats import CLASSES, BeatComparison, BeatOptions, compare_beats
from tocsin_agent.lab.evaluate.databases import Selection
from tocsin_agent.lab.evaluate.judge import score_dict
from tocsin_agent.lab.patients import NOISE_RECORDS, STRESSED
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.sources.files.wfdb_record import WfdbSource, find_record
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import Models, load_models

_BLOCK_S = 60.0  # results do not depend on it


@dataclass(frozen=True)
class StressResult:
    """The monitor's beats at one SNR.

    Parameters
    ----------
    mixture : NoisyRecord
        The record with noise.
    calibration : Calibration
        Of the noise.
    comparison : BeatComparison
        With the reference, over clean and noisy intervals together, as in EC57.
    noisy, clean : BeatComparison
        The same counts in the noisy and in the clean intervals; `clean` shows how fast the monitor
        recovers.
    """

    mixture: mixer.NoisyRecord
    calibration: mixer.Calibration
    comparison: BeatComparison
    noisy: BeatComparison
    clean: BeatComparison


def stress(
    record: str,
    noise: str = "em",
    snrs_db: Sequence[float] = (24, 18, 12, 6, 0, -6),
    *,
    annotator: str = "atr",
    models: Models,
    limits: Limits | None = None,
) -> Iterator[StressResult]:
    """Mix a record with noise, and run the monitor over each mixture.

    Parameters
    ----------
    record : str
        `database/record` or a path; its ECG leads are used.
    noise : str
        `bw`, `em` or `ma` of nstdb, or the name of any record.
    snrs_db : sequence of float
        In the order of the results.
    annotator : str
        Extension of the reference annotations.
    models : Models
    limits : Limits, optional

    Yields
    ------
    StressResult
        One for each SNR.

    Raises
    ------
    SourceError
        If the record, its annotations or the noise cannot be read or are not suitable.
    """
    path, known_as = find_record(record)
    file = path.with_name(f"{path.name}.{annotator}")
    reference = read_annotations(file, read_header(path.with_name(f"{path.name}.hea")))
    require_beats(reference, file)
    leads, clean = _ecg_leads(record)
    if len(clean.samples) <= mixer.LEARNING_S * clean.rate_hz:
        raise SourceError(
            SourceFault.MALFORMED,
            f"record {clean.name} is shorter than the {mixer.LEARNING_S:g} s before the noise",
        )
    of_noise = mixer.read_record(f"nstdb/{noise}" if noise in NOISE_RECORDS else noise)
    calibration = mixer.calibrate(clean, of_noise, normal_beats(reference))
    # As nstdb was made, unless the step where the noise record begins again would be in the signal.
    longer = len(clean.samples) > len(mixer.at_rate(of_noise, clean.rate_hz).samples)
    for snr_db in snrs_db:
        mixture = mixer.mix(
            clean, of_noise, snr_db, calibration, rewind="level" if longer else "nst"
        )
        spec = StreamSpec(f"{known_as or path.name}+{mixture.record.name}", clean.rate_hz, leads)
        found = _beats_found(mixture.record, PatientMonitor(spec, limits, models))
        comparison = compare_beats(reference, found, BeatOptions(start_s=mixer.LEARNING_S))
        yield StressResult(mixture, calibration, comparison, *_by_interval(comparison, mixture))


def normal_beats(reference: Annotations) -> list[int]:
    """Return the sample index of each beat of the class N."""
    marks = zip(reference.sample.tolist(), reference.symbol, strict=True)
    return [sample for sample, symbol in marks if AAMI_CLASS.get(symbol) == "N"]


def _ecg_leads(record: str) -> tuple[tuple[str, ...], mixer.DigitalRecord]:
    """Return the leads that the monitor uses, and their digital samples."""
    with WfdbSource(record) as source:
        leads = source.spec.leads
    stored = mixer.read_record(record)
    names: list[str] = []
    for lead in stored.leads:
        name, number = lead.name, 2
        while name in names:  # as the source numbers repeated names
            name, number = f"{lead.name}-{number}", number + 1
        names.append(name)
    return leads, stored.take([names.index(lead) for lead in leads])


def _beats_found(record: mixer.DigitalRecord, monitor: PatientMonitor) -> Annotations:
    samples = record.millivolts()
    step = round(_BLOCK_S * record.rate_hz)
    beats = []
    for start in range(0, len(samples), step):
        block = SampleBlock(monitor.spec, start, samples[start : start + step])
        beats += monitor.push(block).beats
    beats += monitor.finish().beats
    return make_annotations(
        [beat.r_index for beat in beats],
        [beat.label for beat in beats],
        rate_hz=record.rate_hz,
        record=record.name,
        n_samples=len(samples),
    )


def _by_interval(
    comparison: BeatComparison, mixture: mixer.NoisyRecord
) -> tuple[BeatComparison, BeatComparison]:
    """Return the counts in the noisy and in the clean intervals."""
    noisy = mixture.noisy()
    matrices = np.zeros((2, len(CLASSES), len(CLASSES)), np.int64)
    for pair in comparison.pairs:
        at = pair.reference if pair.reference is not None else pair.test
        if at is not None:
            which = 0 if noisy[min(at, len(noisy) - 1)] else 1
            cell = CLASSES.index(pair.label[0]), CLASSES.index(pair.label[1].upper())
            matrices[which][cell] += 1
    of_noisy, of_clean = (
        replace(
            comparison, matrix=matrix, rr_error_ms=None, rr_intervals=0, shutdown_s=0.0, pairs=()
        )
        for matrix in matrices
    )
    return of_noisy, of_clean


class StressTask(NamedTuple):
    """One record to test in noise, with all that a worker process needs."""

    record: str
    noise: str
    snrs_db: tuple[float, ...]
    annotator: str = "atr"


def stressed(
    selection: Selection, noise: str, snrs_db: Sequence[float], *, jobs: int | None = None
) -> list[dict[str, Any]]:
    """Test records in noise, and sum the results for each signal-to-noise ratio.

    Parameters
    ----------
    selection : Selection
        Only 118 and 119 of mitdb are tested if they are in it, as in nstdb; all records otherwise.
    noise, snrs_db
        As `stress` takes them.
    jobs : int, optional
        Processes; one per core by default.

    Returns
    -------
    list of dict
        One for each SNR: `snr_db`, `noise`, `records` and the gross `qrs`, `veb` and `sveb` of the
        noisy intervals.

    Raises
    ------
    SourceError
        As `stress` does, for the first record that cannot be tested.
    """
    of_nstdb = [r for r in selection.records if f"{selection.database}/{r}" in STRESSED]
    records = of_nstdb or list(selection.records)
    tasks = [
        StressTask(str((selection.folder / r).absolute()), noise, tuple(snrs_db)) for r in records
    ]
    # Spawned, not forked: onnxruntime's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs or os.cpu_count() or 1, len(tasks)), spawn) as pool:
        by_record = list(pool.map(_noisy_intervals, tasks))
    rows = []
    for at, snr_db in enumerate(snrs_db):
        found = [of_record[at] for of_record in by_record]
        total = replace(found[0], matrix=np.sum([one.matrix for one in found], axis=0))
        scores = {"qrs": total.qrs, "veb": total.veb, "sveb": total.sveb}
        rows.append(
            {"snr_db": float(snr_db), "noise": noise, "records": records}
            | {kind: score_dict(score) for kind, score in scores.items()}
        )
    return rows


def _noisy_intervals(task: StressTask) -> list[BeatComparison]:
    """Return the counts in the noisy intervals at each SNR, in a worker."""
    results = stress(
        task.record, task.noise, task.snrs_db, annotator=task.annotator, models=load_models()
    )
    return [result.noisy for result in results]
