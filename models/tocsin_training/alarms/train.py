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
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from tocsin_agent.monitor.alarms.verification import VF_LIKELY, VT_LIKELY
from tocsin_dsp.rhythms.evidence import FEATURES
from tocsin_models import ALARM_LABELS
from tocsin_training.alarms.collect import selected
from tocsin_training.alarms.examples import (
    BEATS,
    CHALLENGES,
    GROUPS,
    QUIET,
    SEED,
    Examples,
    examples,
    group_of,
    joined,
)
from tocsin_training.alarms.page import page
from tocsin_training.alarms.reviewed import examples_of_set
from tocsin_training.alarms.trees import cost, write_trees
from tocsin_training.exporting import SHIPPED_IN, write_card

NAME = "alarms"
LEAST_IN_LEAF = 3
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
