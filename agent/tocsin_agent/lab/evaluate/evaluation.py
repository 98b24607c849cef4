"""Evaluation of a database: records in parallel, then gross figures with intervals by record."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_agent import __version__
from tocsin_agent.errors import LabError
from tocsin_agent.lab.ec57.beats import CLASSES, Score
from tocsin_agent.lab.ec57.episodes import EpisodeResult
from tocsin_agent.lab.ec57.statistics import Ratio
from tocsin_agent.lab.evaluate.alarm_rates import alarm_rates
from tocsin_agent.lab.evaluate.alarm_scoring import learning_s
from tocsin_agent.lab.evaluate.challenge import ALARMS_FILE, challenge_score
from tocsin_agent.lab.evaluate.challenge2017 import LABELS_FILE, rhythm_f1
from tocsin_agent.lab.evaluate.databases import Reference, Selection, reference_for
from tocsin_agent.lab.evaluate.fleet import judge_on
from tocsin_agent.lab.evaluate.judge import (
    WORST,
    Judgement,
    Task,
    judge_or_fail,
    score_dict,
    worst_misses,
)
from tocsin_agent.lab.evaluate.normal_rhythm import false_ectopy
from tocsin_agent.lab.evaluate.vf_seconds import in_total
from tocsin_agent.lab.patients import PACED
from tocsin_models import load_models

BOOTSTRAP = 2000  # draws for the intervals
SEED = 57  # of the draws
LATENCY_STEP_S = 0.02  # s, width of a bin of the latency histogram

Progress = Callable[[int, int], None]


def evaluate(
    selection: Selection,
    *,
    leads: tuple[str, ...] | None = None,
    reference: str | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    verifiers: Path | None = None,
    progress: Progress = lambda done, of: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Run the agent over the selected records and judge it.

    Parameters
    ----------
    selection : Selection
    leads : tuple of str, optional
        Leads by name or column; all by default.
    reference : str, optional
        Annotator of the reference; by default as `databases.reference_for` chooses.
    jobs : int, optional
        Processes; one per core by default.
    scheduler : str, optional
        Address of a Dask scheduler whose workers judge instead, with access to the same paths.
    verifiers : Path, optional
        Folder with `folds.json`, which names for each record a model of alarms that was trained
        without it (`make cross-validate-alarms`); the shipped model judges the records it lacks.
    progress : callable
        Called with the number of records done and the number of all.

    Returns
    -------
    dict
        The result that `tocsin evaluate --json` writes. A record that cannot be judged is named in
        `failed`, with the reason.

    Raises
    ------
    LabError
        If the cluster of `scheduler` cannot be used; see `fleet.judge_on`.
    """
    folder = selection.folder.absolute()  # a worker has its own working directory
    models = _verifiers(verifiers)
    tasks = [
        Task(
            str(folder / record),
            record,
            f"{selection.database}/{record}" in PACED,
            leads,
            reference_of(selection, record, leads, reference),
            models.get(f"{selection.database}/{record}"),
            selection.url,
        )
        for record in selection.records
    ]
    judged: dict[str, Judgement] = {}
    failed: dict[str, str] = {}
    for done, (task, outcome) in enumerate(_in_parallel(tasks, jobs, scheduler), 1):
        if isinstance(outcome, Judgement):
            judged[task.record] = outcome
        else:
            failed[task.record] = outcome
        progress(done, len(tasks))
    ordered = [judged[record] for record in selection.records if record in judged]
    return _result(selection, leads, ordered, failed) | {
        "verified_in_folds": sum(task.verifier is not None for task in tasks)
    }


def _verifiers(folder: Path | None) -> dict[str, str]:
    """Return the path of the model that verifies each record, by database and record."""
    if folder is None:
        return {}
    file = folder / "folds.json"
    try:
        named: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(
            f"no list of models at {file}: {error}; make one with make cross-validate-alarms"
        ) from error
    return {record: str(folder.absolute() / name) for record, name in named.items()}


def reference_of(
    selection: Selection, record: str, leads: tuple[str, ...] | None, annotator: str | None
) -> Reference | None:
    """Return where the reference of a record is; None where only a challenge's list judges it."""
    found = reference_for(selection.database, selection.folder / record, leads, annotator)
    listed = any((selection.folder / name).is_file() for name in (ALARMS_FILE, LABELS_FILE))
    path = selection.folder / f"{record}.{found.annotator}"
    return None if listed and annotator is None and not path.is_file() else found


def _in_parallel(
    tasks: Sequence[Task], jobs: int | None, scheduler: str | None
) -> Iterator[tuple[Task, Judgement | str]]:
    """Judge in other processes, here or on a cluster; yield in the order of completion."""
    if not tasks:
        return
    if scheduler is not None:
        yield from judge_on(scheduler, tasks)
        return
    # Spawned, not forked: onnxruntime's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    workers = min(jobs or os.cpu_count() or 1, len(tasks))
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        waiting = {pool.submit(judge_or_fail, task): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _result(
    selection: Selection,
    leads: tuple[str, ...] | None,
    judged: Sequence[Judgement],
    failed: dict[str, str],
) -> dict[str, Any]:
    hours = sum(j.hours for j in judged)
    compared = [j for j in judged if j.beats is not None]
    with_classes = [j for j in compared if j.classes]
    classified = [j for j in compared if _classified(j)]
    matrices = [j.beats.matrix for j in with_classes if j.beats]
    matrix = np.sum(matrices, axis=0) if matrices else None
    return {
        "schema": "tocsin/evaluation/v1",
        "database": selection.database,
        "subset": selection.subset,
        "leads": "all" if leads is None else ",".join(leads),
        "hours": round(hours, 3),
        "qrs": gross([j.beats.qrs for j in compared if j.beats]),
        "veb": gross([j.beats.veb for j in classified if j.beats]),
        "sveb": gross([j.beats.sveb for j in classified if j.beats]),
        "af": _episodes([j.af for j in judged if j.af]),
        "vf": _episodes([j.vf for j in judged if j.vf]),
        "alarms": _alarms(judged),
        "challenge_score": challenge_score(selection.folder, judged),
        "raised": alarm_rates(selection.database, judged),
        "vf_seconds": in_total([j.vf_seconds for j in judged if j.vf_seconds]),
        "rhythm_f1": rhythm_f1(selection.folder, {j.record: j.rhythm for j in judged}),
        "normal_rhythm": false_ectopy(selection.folder, judged),
        "confusion": None
        if matrix is None
        else {"labels": CLASSES, "matrix": np.asarray(matrix).tolist()},
        "latency_s": _latency([s for j in judged for s in j.latencies_s]),
        "records": [j.record for j in judged],
        "missing": list(selection.missing),
        "failed": failed,
        "per_record": [_record(j) for j in judged],
        "worst": _worst(compared),
        "software": {"version": __version__, "models": load_models().hashes},
    }


def _worst(judged: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return the worst errors: ventricular beats first, at most two per record."""
    ordered = sorted(judged, key=_errors, reverse=True)
    misses = [miss for j in ordered for miss in worst_misses(j)[:2]]
    return sorted(misses, key=lambda miss: "V" not in miss["reference"] + miss["test"])[:WORST]


def _record(j: Judgement) -> dict[str, Any]:
    beats = j.beats
    return {
        "record": j.record,
        "hours": round(j.hours, 4),
        "paced": j.paced,
        "qrs": score_dict(beats.qrs) if beats else None,
        "veb": score_dict(beats.veb) if beats and _classified(j) else None,
        "sveb": score_dict(beats.sveb) if beats and _classified(j) else None,
        "alarms": {
            code: {"true": a.true, "false": a.false, "missed": a.missed}
            for code, a in j.alarms.items()
            if a.total
        },
        "notes": list(j.notes),
    }


def _classified(j: Judgement) -> bool:
    """Return whether the beat classes of a record count: not of paced ones, as EC57 asks."""
    return j.classes and not j.paced


def _errors(j: Judgement) -> int:
    assert j.beats is not None  # noqa: S101 - only for compared records
    scores = [j.beats.qrs, j.beats.veb] if _classified(j) else [j.beats.qrs]
    return sum(s.fn + s.fp for s in scores)


def gross(scores: Sequence[Score]) -> dict[str, Any] | None:
    """Return the sum, with bootstrap intervals over records, since beats of a patient correlate."""
    if not scores:
        return None
    counts = np.array([(s.tp, s.fn, s.fp) for s in scores])
    total = Score(*counts.sum(axis=0).tolist())
    drawn = np.random.default_rng(SEED).integers(0, len(counts), (BOOTSTRAP, len(counts)))
    sums = counts[drawn].sum(axis=1)
    return score_dict(total) | {
        "ci95": {
            "se": _interval(sums[:, 0], sums[:, 0] + sums[:, 1]),
            "ppv": _interval(sums[:, 0], sums[:, 0] + sums[:, 2]),
        }
    }


def _interval(part: Any, whole: Any) -> list[float] | None:  # noqa: ANN401 - NumPy arrays
    known = whole > 0
    if not known.any():
        return None
    shares = 100.0 * part[known] / whole[known]
    return [round(float(q), 3) for q in np.percentile(shares, [2.5, 97.5])]


def _episodes(results: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    if not results:
        return None

    def pooled(name: str) -> Ratio:
        ratios = [r.ratios[name] for r in results]
        return Ratio(sum(r.part for r in ratios), sum(r.whole for r in ratios))

    pools = {name: pooled(name) for name in results[0].ratios}
    percents = {name: pool.percent for name, pool in pools.items()}
    return {
        name: None if percent is None else round(percent, 3) for name, percent in percents.items()
    } | {"counts": {name: [round(value, 3) for value in pool] for name, pool in pools.items()}}


def _alarms(judged: Sequence[Judgement]) -> dict[str, Any]:
    table = {}
    for code in sorted({code for j in judged for code, a in j.alarms.items() if a.total}):
        with_code = [j for j in judged if code in j.alarms]
        counts = [j.alarms[code] for j in with_code]
        hours = sum(j.hours - learning_s(3600 * j.hours) / 3600 for j in with_code)  # judged hours
        false = sum(c.false for c in counts)
        table[code] = {
            "true": sum(c.true for c in counts),
            "false": false,
            "missed": sum(c.missed for c in counts),
            "false_per_24h": round(24 * false / hours, 3) if hours else None,
            "delay_s": _spread([d for c in counts for d in c.delays_s]),
        }
    return table


def _latency(values: Sequence[float]) -> dict[str, Any] | None:
    """Return the quantiles and a histogram with bins of `LATENCY_STEP_S` from 0 s on."""
    spread = _spread(values)
    if spread is None:
        return None
    steps = np.bincount(np.floor(np.array(values) / LATENCY_STEP_S + 1e-9).astype(np.int64))
    return spread | {"step_s": LATENCY_STEP_S, "counts": steps.tolist()}


def _spread(values: Iterable[float]) -> dict[str, float] | None:
    x = np.array(list(values))
    if len(x) == 0:
        return None
    median, p95, worst = np.median(x), np.percentile(x, 95), x.max()
    return {
        "median": round(float(median), 3),
        "p95": round(float(p95), 3),
        "worst": round(float(worst), 3),
    }
