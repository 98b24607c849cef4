"""Train the shipped model that verifies ventricular alarms: `make train-alarms`.

Two small ensembles of extremely randomised trees (Geurts, Ernst & Wehenkel, Machine Learning 63:3,
2006), one for ventricular tachycardia and one for fibrillation, asked at every half second in which
a candidate is open and not at the alarm alone. True are the last seconds before the true alarms of
cinc2015 and cinc2015_long, the tachycardias of mitdb DS1 and svdb, and fibrillation in cudb and
vfdb. Not true are the false alarms, all candidates in records of another alarm, and in the rest of
mitdb DS1, svdb, cudb, vfdb, nstdb, leadi_motion and clean records with noise. DS2 of mitdb is in no
training set and chooses nothing.

The figures are cross-validated: five groups of records; of the challenge six neighbouring numbers
stay together, since a patient may appear in several. LOG.md records what was tried.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS, read_annotations, read_header
from tocsin_agent.lab.evaluate.alarm_scoring import vf_marks
from tocsin_agent.lab.evaluate.challenge import alarms_of
from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.lab.patients import DS1
from tocsin_agent.monitor.alarms.verification import VF_LIKELY, VT_LIKELY
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_models import ALARM_LABELS
from tocsin_training.alarms.collect import NOISY, Rows, collect, selected
from tocsin_training.alarms.page import page
from tocsin_training.alarms.trees import cost, write_trees
from tocsin_training.exporting import SHIPPED_IN, write_card

NAME = "alarms"
GROUPS, SEED = 5, 0
LEAST_IN_LEAF = 3
VT_KIND, VF_KIND = "Ventricular_Tachycardia", "Ventricular_Flutter_Fib"
CHALLENGES = ("cinc2015", "cinc2015_long")
QUIET = ("nstdb", "leadi_motion", NOISY)  # no ventricular alarm is true there
BEATS = ("mitdb", "svdb")  # annotated by beat
BEFORE_S, TRUE_S, EARLIER_S = 10.0, 5.0, 15.0  # of an alarm: judged, surely true, surely not yet
TRUE_WEIGHT, OTHER_VT, OTHER_VF, EARLIER = 5.0, 6.0, 1.0, 2.0  # of a record
BEATS_TRUE, BEATS_FALSE = 8.0, 100.0
VFDB_TRUE, VFDB_FALSE = 3.0, 1.0
VF_FEATURES = (
    "vf_best", "vf_best_min", "vf_two", "vf_two_min", "vf_four", "vf_used", "match_max",
    "plain_max", "plain_min", "alike_max", "alike_min", "s_q_max", "s_q_min", "s_noisy_max",
    "l_rail_max", "s_big_rel_max", "s_big_rel_min", "s_drift_max", "s_steepmax_rel_max",
    "max_fast8", "v_mean5", "v_now3", "trust8", "core5", "pn_mean", "s_unrest_min", "l_nfast_max",
    "l_v4_max", "at_rate4", "l_c5_min", "l_lk5_max",
)  # fmt: skip
"""What the ensemble of fibrillation may use."""
COLUMNS = {
    "VT": list(range(len(FEATURES))),
    "VF": [FEATURES.index(name) for name in VF_FEATURES],
}
FAILURE_MODES = (
    "beats of a pacemaker and of bundle branch block that the beat model calls ventricular",
    "a tachycardia of narrow or usual shape, which opens no candidate",
    "slow flutter (about 2/s) without a window that looks like fibrillation",
    "trained at alarms of intensive care: elsewhere false alarms may be more frequent",
)


class Size(NamedTuple):
    """Of an ensemble: trees, leaves of each at most, share of the features tried at each split."""

    trees: int
    leaves: int
    features: float


SIZE = {"VT": Size(80, 40, 0.25), "VF": Size(40, 24, 0.4)}


class Examples(NamedTuple):
    """Candidates with their truth, their weight and the group of their record."""

    x: NDArray[np.float32]
    true: NDArray[np.bool_]
    weight: NDArray[np.float64]
    group: NDArray[np.int64]  # -1 in no test
    name: NDArray[np.str_]  # database/record
    judged: NDArray[np.bool_]  # within the seconds before an alarm of this kind


def group_of(database: str, record: str) -> int:
    """Return the group of a record; -1 for one that is in no training set."""
    if database in CHALLENGES:
        shuffled = np.random.default_rng(SEED).permutation(1000)
        return int(shuffled[int(re.sub(r"\D", "", record)) // 6] % GROUPS)
    if database in {"mitdb", "nstdb", NOISY}:  # records of the same patients
        patient = record[:3]
        return DS1.index(patient) % GROUPS if patient in DS1 else -1
    return sum(map(ord, record)) % GROUPS


def per_record(rows: Rows, chosen: NDArray[np.bool_], capped: bool) -> NDArray[np.float64]:
    """Return weights that are 1 a record in total; less for one of few candidates if capped."""
    weight = np.zeros(len(rows.record))
    for record in set(rows.record[chosen].tolist()):
        of_it = chosen & (rows.record == record)
        count = int(of_it.sum())
        weight[of_it] = (min(1.0, count / 10) if capped else 1.0) / count
    return weight


def of_challenge(database: str, rows: Rows, label: str) -> Examples:
    """Return the examples of a database of alarms."""
    kind = VT_KIND if label == "VT" else VF_KIND
    listed = alarms_of(database_folder(database))
    kinds = np.array([listed[r].kind for r in rows.record.tolist()])
    true = np.array([listed[r].true for r in rows.record.tolist()])
    before = np.array([listed[r].at_s for r in rows.record.tolist()]) - rows.at_s
    own = kinds == kind
    judged = own & (before >= 0) & (before < BEFORE_S)
    other = ~own & (before > -1)
    if label == "VF":
        other &= kinds != VT_KIND
    weight = np.where(true, TRUE_WEIGHT, 1.0) * per_record(
        rows, judged & ~(true & (before > TRUE_S)), capped=False
    )
    weight += (OTHER_VT if label == "VT" else OTHER_VF) * per_record(rows, other, capped=True)
    if label == "VT":
        weight += EARLIER * per_record(rows, own & ~true & (before > EARLIER_S), capped=True)
    return _examples(database, rows, own & true, weight, judged)


def of_beats(database: str, rows: Rows) -> Examples:
    """Return the examples of a database annotated by beat: tachycardia against all else."""
    truth = np.zeros(len(rows.record), np.int64)
    trained = np.zeros(len(rows.record), bool)
    for record in set(rows.record.tolist()):
        of_it = rows.record == record
        truth[of_it] = _tachycardia(database, record, rows.at_s[of_it])
        trained[of_it] = group_of(database, record) >= 0
    weight = BEATS_TRUE * per_record(rows, trained & (truth == 1), capped=True)
    weight += BEATS_FALSE * per_record(rows, trained & (truth == 0), capped=True)
    return _examples(database, rows, truth == 1, weight, np.zeros(len(truth), bool))


def of_rhythms(database: str, rows: Rows) -> Examples:
    """Return the examples of a database with marks of fibrillation."""
    truth = np.full(len(rows.record), -1)
    for record in set(rows.record.tolist()):
        of_it = rows.record == record
        truth[of_it] = _fibrillation(database, record, rows.at_s[of_it])
    weight = VFDB_TRUE * per_record(rows, truth == 1, capped=True)
    weight += VFDB_FALSE * per_record(rows, truth == 0, capped=True)
    return _examples(database, rows, truth == 1, weight, np.zeros(len(truth), bool))


def of_quiet(database: str, rows: Rows) -> Examples:
    """Return the examples of a database in which no ventricular alarm is true."""
    none = np.zeros(len(rows.record), bool)
    return _examples(database, rows, none, per_record(rows, ~none, capped=True), none)


def examples(label: str, without: Collection[str] = ()) -> Examples:
    """Return all examples of a label, but for those of some databases annotated by beat."""
    parts = [of_challenge(name, collect(name), label) for name in CHALLENGES]
    parts += [of_quiet(name, collect(name)) for name in QUIET]
    if label == "VT":
        parts += [of_beats(name, collect(name)) for name in BEATS if name not in without]
    else:
        parts += [of_rhythms(name, collect(name)) for name in ("cudb", "vfdb")]
    return joined(parts)


def joined(parts: Sequence[Examples]) -> Examples:
    """Return the examples of several databases as one."""
    return Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def some(given: Examples, chosen: NDArray[np.bool_]) -> Examples:
    """Return the examples that are chosen."""
    return Examples(*(part[chosen] for part in given))  # type: ignore[arg-type]


def fit(given: Examples, label: str, without: Collection[int] = ()) -> ExtraTreesClassifier:
    """Train the ensemble of a label, without the records of some groups."""
    kept = (given.weight > 0) & (given.group >= 0) & ~np.isin(given.group, list(without))
    weight, size = given.weight[kept], SIZE[label]
    trees = ExtraTreesClassifier(
        size.trees,
        min_samples_leaf=LEAST_IN_LEAF,
        max_leaf_nodes=size.leaves,
        max_features=size.features,
        random_state=SEED,
        n_jobs=1,
    )
    x = given.x[kept][:, COLUMNS[label]]
    trees.fit(x, given.true[kept], sample_weight=weight / weight.mean())
    return trees


def judge(given: Examples, label: str, folds: list[ExtraTreesClassifier]) -> dict[str, Any]:
    """Return how many alarms of the challenge the folds keep and suppress, by the model alone."""
    likely = VT_LIKELY if label == "VT" else VF_LIKELY
    kept: dict[str, bool] = {}
    truth: dict[str, bool] = {}
    for group, trees in enumerate(folds):
        at = np.flatnonzero(given.judged & (given.group == group))
        answers = trees.predict_proba(given.x[at][:, COLUMNS[label]])[:, 1]
        for name, true, p in zip(given.name[at], given.true[at], answers, strict=True):
            kept[name] = kept.get(name, False) or bool(p >= likely)
            truth[name] = bool(true)
    return {
        "true_kept": sum(kept[n] and truth[n] for n in kept),
        "true_lost_with_a_candidate": sum(truth[n] and not kept[n] for n in kept),
        "false_kept": sum(kept[n] and not truth[n] for n in kept),
        "false_suppressed_with_a_candidate": sum(not truth[n] and not kept[n] for n in kept),
        "probability": likely,
    }


def _examples(
    database: str,
    rows: Rows,
    true: NDArray[np.bool_],
    weight: NDArray[np.float64],
    judged: NDArray[np.bool_],
) -> Examples:
    names = rows.record.tolist()
    group = np.array([group_of(database, record) for record in names], np.int64)
    named = np.array([f"{database}/{record}" for record in names], dtype=str)
    return Examples(rows.x, true, weight, group, named, judged)


def _tachycardia(database: str, record: str, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return by second: 1 within a tachycardia, -1 near one or in flutter, 0 elsewhere."""
    reference = read_annotations(*_files(database, record))
    rate = reference.rate_hz
    beats = [
        (at / rate, AAMI_CLASS[symbol])
        for at, symbol in zip(reference.sample.tolist(), reference.symbol, strict=True)
        if symbol in AAMI_CLASS
    ]
    truth = np.zeros(len(at_s), np.int64)
    mark_tachycardias(truth, at_s, tachycardias(beats))
    for start, stop in _flutter(list(vf_marks(reference)), rate):
        truth[(at_s > start - 2) & (at_s < stop + 10)] = -1
    return truth


def tachycardias(beats: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    """Return begin and end of each tachycardia: 5 or more ventricular beats above 100/min."""
    runs = [run for run in _runs(beats) if len(run) >= 5]
    return [(r[0], r[-1]) for r in runs if 60 * (len(r) - 1) / (r[-1] - r[0]) > 100]


def mark_tachycardias(
    truth: NDArray[np.int64], at_s: NDArray[np.float64], spans: Sequence[tuple[float, float]]
) -> None:
    """Write 1 where a tachycardia is surely recognisable, -1 near one; the rest stays as it is."""
    for start, stop in spans:
        truth[(at_s > start - 1) & (at_s < stop + 9) & (truth == 0)] = -1
        truth[(at_s > start + 2) & (at_s < stop + 5)] = 1


def _runs(beats: Sequence[tuple[float, str]]) -> list[list[float]]:
    """Return the times of ventricular beats in a row."""
    runs: list[list[float]] = [[]]
    for at, label in beats:
        if label == "V":
            runs[-1].append(at)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _flutter(marks: list[tuple[int, bool]], rate_hz: float) -> list[tuple[float, float]]:
    spans, onset = [], None
    for at, begins in marks:
        if begins:
            onset = at / rate_hz
        elif onset is not None:
            spans.append((onset, at / rate_hz))
            onset = None
    return spans if onset is None else [*spans, (onset, np.inf)]


def _fibrillation(database: str, record: str, at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return by second: 1 in fibrillation for some seconds, -1 near it or in VT, 0 elsewhere."""
    reference = read_annotations(*_files(database, record))
    rate = reference.rate_hz
    begins = [0.0] + [at / rate for at, _ in vf_marks(reference)]
    now = [False] + [on for _, on in vf_marks(reference)]
    rhythm = zip(reference.sample.tolist(), reference.aux, strict=True)
    named = [(at / rate, aux) for at, aux in rhythm if aux]
    vt = [aux == "(VT" for _, aux in named]

    def state(at: float) -> int:
        if now[int(np.searchsorted(begins, at, side="right")) - 1]:
            return 1
        last = int(np.searchsorted([t for t, _ in named], at, side="right")) - 1
        return -1 if last >= 0 and vt[last] else 0

    truth = []
    for at in at_s.tolist():
        recent = {state(at - 2), state(at - 4)}
        truth.append(recent.pop() if len(recent) == 1 else -1)
    return np.array(truth)


def _files(database: str, record: str) -> tuple[Path, Any]:
    path = database_folder(database) / record
    return path.with_name(f"{record}.atr"), read_header(path.with_name(f"{record}.hea"))


def folds_of(labelled: dict[str, Examples]) -> dict[str, list[ExtraTreesClassifier]]:
    """Return for each label the ensembles without the records of one group each."""
    return {
        label: [fit(of_it, label, {group}) for group in range(GROUPS)]
        for label, of_it in labelled.items()
    }


def write_folds(folder: Path) -> None:
    """Write the models in folds, and `folds.json`, which names that of each record."""
    folder.mkdir(parents=True, exist_ok=True)
    labelled = {label: examples(label) for label in ALARM_LABELS}
    folds = folds_of(labelled)
    for group in range(GROUPS):
        trees = [(folds[label][group], COLUMNS[label]) for label in ALARM_LABELS]
        file = write_trees(folder / f"{NAME}-{group}.onnx", trees, len(FEATURES))
        write_card(file, _card({"left_out": group}, labelled))
    listed: dict[str, str] = {}
    for database in (*CHALLENGES, *BEATS, "cudb", "vfdb", *QUIET):
        for record in selected(database).records:
            group = group_of(database, record)
            if group >= 0:
                listed[f"{database}/{record}"] = f"{NAME}-{group}.onnx"
    (folder / "folds.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train the shipped model; its figures are those of the models in folds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=SHIPPED_IN, help="folder of the model")
    parser.add_argument(
        "--reviewed", type=Path, help="an annotation set of `tocsin review publish`, trained on too"
    )
    given = parser.parse_args()
    into = given.into
    labelled = {label: examples(label) for label in ALARM_LABELS}
    if given.reviewed is not None:
        from tocsin_training.review.database import examples_of_set  # noqa: PLC0415 - it uses this

        labelled["VT"] = joined([labelled["VT"], *examples_of_set(given.reviewed)])
    folds = folds_of(labelled)
    metrics: dict[str, Any] = {
        label: judge(labelled[label], label, folds[label]) for label in ALARM_LABELS
    }
    print(json.dumps(metrics, indent=1))
    trees = [(fit(labelled[label], label), COLUMNS[label]) for label in ALARM_LABELS]
    file = write_trees(into / f"{NAME}.onnx", trees, len(FEATURES))
    card = _card({"float": metrics | cost(file, len(FEATURES))}, labelled)
    write_card(file, card)
    file.with_suffix(".md").write_text(page(card), encoding="utf-8")


def _card(metrics: dict[str, Any], labelled: dict[str, Examples]) -> dict[str, Any]:
    return {
        "name": NAME,
        "task": "whether a ventricular alarm is true, at a half second with an open candidate",
        "labels": list(ALARM_LABELS),
        "input": {"points": 0, "features": list(FEATURES)},
        "quantisation": "none: trees compare numbers and have no weights",
        "architecture": {
            **{label: size._asdict() for label, size in SIZE.items()},
            "least_in_leaf": LEAST_IN_LEAF,
        },
        "training": {
            "database": "cinc2015, cinc2015_long, mitdb DS1, svdb, cudb, vfdb, nstdb, "
            "leadi_motion, and 101, 112, 115, 122 of mitdb with noise of nstdb",
            "left_out": "mitdb DS2; seconds near a true alarm and in another ventricular rhythm",
            "examples": {label: int((e.weight > 0).sum()) for label, e in labelled.items()},
            "seed": SEED,
            "command": "make train-alarms",
        },
        "test": {
            "database": "cinc2015 and cinc2015_long, cross-validated by record number in 5 groups",
            "command": "make cross-validate-alarms",
        },
        "metrics": metrics,
        "intended_use": "verifies candidates of an alerting agent; no diagnosis",
        "failure_modes": list(FAILURE_MODES),
    }


if __name__ == "__main__":
    main()
