"""Train the shipped model of atrial fibrillation from the records: `make train-af`.

A logistic regression on the features of `tocsin_dsp.rhythms.irregularity` of each half minute,
trained on the short records of cinc2017, the rhythm marks of mitdb's training records (DS1 without
201), and svdb, where a half minute in which a beat is marked supraventricular is no atrial
fibrillation. DS2 of mitdb is its test, here and in the whole agent. The figures are
cross-validated: eight groups of records (201 and 202 of mitdb, one patient, together), each judged
by a model trained without them. LOG.md records what was tried.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import wfdb
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from tocsin_agent.lab.ec57.annotations import make_annotations, read_annotations, read_header
from tocsin_agent.lab.ec57.episodes import EpisodeKind, compare_episodes
from tocsin_agent.lab.ec57.statistics import Row, aggregate
from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.lab.patients import PACED, SAME_PATIENT
from tocsin_agent.monitor.labels.labeller import Labeller
from tocsin_agent.monitor.rhythm.atrial import HOLD_S, LIKELY, AtrialFibrillationTracker
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Beat, Irregularity
from tocsin_agent.sources.opening import open_source
from tocsin_dsp.conditioning.condition import Conditioner
from tocsin_dsp.conditioning.quality import Hop, QualityMeter
from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ
from tocsin_dsp.leads.leads import LeadSet
from tocsin_dsp.rhythms.irregularity import (
    EVERY,
    FEATURES,
    LEAST,
    LEAST_IN_TRAINING,
    MOST_P,
    OVER,
    IrregularityObserver,
)
from tocsin_models import BEATS, Models, load_model
from tocsin_training.af.page import page
from tocsin_training.data.beats import TRAINING_CLASS, record_path
from tocsin_training.data.folds import MITDB, SVDB, TRAINING
from tocsin_training.exporting import SHIPPED_IN, cost, export, run_file, write_card

NAME = "af"
GROUPS = 8  # of the cross-validation
PENALTY = 0.3  # inverse strength of the regularisation
MITDB_WEIGHT = 0.01  # of a window of mitdb; the windows of a record of cinc2017 weigh 1 together
SVDB_WEIGHT = 0.001  # of a window of svdb
RECORD_LIKELY = 0.3  # mean probability from ten seconds on from which a short record is AF
RECORDS = {"mitdb": MITDB, "svdb": SVDB}
CACHE = Path(".cache/af")
FAILURE_MODES = (
    "atrial flutter and tachycardia with a varying block are called atrial fibrillation",
    "many atrial premature beats, or a pacemaker that wanders, can look like it",
    "regular fibrillation, paced or with complete block, is not detected",
    "P waves are looked for in one lead: where they are faint there, irregularity alone decides",
)


class Rhythms(NamedTuple):
    """The half minutes of one record, one every five seconds.

    `fibrillates` (n,) is the part that the reference marks as atrial fibrillation, `flutters` (n,)
    the part that it marks as atrial flutter, `ectopic` (n,) the number of beats that it labels
    supraventricular; `row` (n,) is the row in `features`, or -1 where there is none; `in_agent`
    states of each row of `features` whether the agent classifies it too.
    """

    record: str
    label: str
    fibrillates: NDArray[np.float64]
    flutters: NDArray[np.float64]
    ectopic: NDArray[np.int64]
    row: NDArray[np.int64]
    features: NDArray[np.float64]
    in_agent: NDArray[np.bool_]


def load_rhythms(database: str, record: str, label: str) -> Rhythms:
    """Run a record through the stages of the agent, with the shipped beat model."""
    path = record_path(database, record)
    with open_source(path, block_s=3600.0) as source:
        block = source.read(0.0)
        assert block is not None
        spec = source.spec
    piece = Conditioner(spec).push(block)
    hops = QualityMeter(len(spec.leads), spec.range_mv).push(piece.samples)
    observed = LeadSet(len(spec.leads)).push(piece, hops)
    labeller, half_minute = (
        Labeller(spec.leads, Models(load_model(BEATS))),
        IrregularityObserver(LEAST_IN_TRAINING, most_p=math.inf),
    )
    stops: list[float] = []
    in_agent: list[bool] = []
    row: list[int] = []
    features: list[NDArray[np.float64]] = []
    for item in labeller.push(list(observed)):
        if isinstance(item, Beat):
            half_minute.take(item.r_index, item.label, item.delineated, trusted=item.trusted)
        elif isinstance(item, Hop) and item.stop % EVERY == 0:
            window = half_minute.describe(item.stop)
            stops.append(item.stop / ANALYSIS_RATE_HZ)
            row.append(len(features) if window else -1)
            if window:
                features.append(window.features)
                in_agent.append(window.difference >= LEAST and window.share_with_p < MOST_P)
    marks = _marks(path, float(spec.rate_hz)) if database == "mitdb" else []
    shares = [
        [_share(marks, name, stop - OVER / ANALYSIS_RATE_HZ, stop) for stop in stops]
        for name in ("(AFIB", "(AFL")
    ]
    if label:
        shares[0] = [float(label == "A")] * len(stops)
    early = _early_beats(path, float(spec.rate_hz)) if database == "svdb" else np.empty(0)
    ends = np.array(stops)
    ectopic = np.searchsorted(early, ends) - np.searchsorted(early, ends - OVER / ANALYSIS_RATE_HZ)
    return Rhythms(
        record, label, np.array(shares[0]), np.array(shares[1]), ectopic, np.array(row, np.int64),
        np.array(features).reshape(-1, len(FEATURES)), np.array(in_agent, bool),
    )  # fmt: skip


def _marks(path: str, rate: float) -> list[tuple[float, str]]:
    annotation = wfdb.rdann(path, "atr")
    marks = zip(annotation.sample, annotation.symbol, annotation.aux_note, strict=True)
    return [(at / rate, name.rstrip("\0")) for at, symbol, name in marks if symbol == "+"]


def _early_beats(path: str, rate: float) -> NDArray[np.float64]:
    """Return the times of the beats that the reference labels supraventricular, s."""
    annotation = wfdb.rdann(path, "atr")
    return (
        np.array(annotation.sample)[[TRAINING_CLASS.get(s) == "S" for s in annotation.symbol]]
        / rate
    )


def _share(marks: Sequence[tuple[float, str]], name: str, start: float, stop: float) -> float:
    """Return the part of an interval that has a rhythm."""
    ends = [*(at for at, _ in marks), float("inf")][1 : len(marks) + 1]
    inside = (
        max(0.0, min(end, stop) - max(at, start))
        for (at, rhythm), end in zip(marks, ends, strict=True)
        if rhythm == name
    )
    return sum(inside) / (stop - start)


def load(database: str) -> list[Rhythms]:
    """Load a database, from the cache if it is there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    cached = CACHE / f"{database}.pickle"
    if not cached.exists():
        if database in RECORDS:
            names = [(record, "") for record in RECORDS[database]]
        else:
            with (database_folder(database) / "REFERENCE.csv").open(encoding="utf-8") as file:
                names = sorted((row[0], row[1]) for row in csv.reader(file))
        made = [tuple(load_rhythms(database, *name)) for name in names]
        cached.write_bytes(pickle.dumps(made))
    return [Rhythms(*fields) for fields in pickle.loads(cached.read_bytes())]


def group_of(database: str, records: Sequence[Rhythms]) -> NDArray[np.int64]:
    """Return the group of each record; one patient is in one group."""
    if database == "mitdb":
        patients = [SAME_PATIENT.get(r.record, r.record) for r in records]
        return np.array([sorted(set(patients)).index(p) % GROUPS for p in patients])
    return np.arange(len(records)) % GROUPS


def rows(
    cinc: Sequence[Rhythms], mitdb: Sequence[Rhythms], svdb: Sequence[Rhythms]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Return features, classes and weights for training.

    Half minutes of mitdb that are partly fibrillation, or flutter, are left out of training and
    kept in the test. svdb has no rhythm marks: of it those half minutes are used in which a beat is
    marked as early, since in atrial fibrillation none would be.
    """
    x, y, weight = [], [], []
    for r in cinc:
        x.append(r.features)
        y.append(np.full(len(r.features), r.label == "A"))
        weight.append(np.full(len(r.features), 1 / max(len(r.features), 1)))
    for r in mitdb:
        described = r.row >= 0
        share, flutter = r.fibrillates[described], r.flutters[described]
        clear = ((share > 0.9) | (share < 0.05)) & (flutter < 0.05)
        x.append(r.features[clear])
        y.append(share[clear] > 0.5)
        weight.append(np.full(clear.sum(), MITDB_WEIGHT))
    for r in svdb:
        early = r.ectopic[r.row >= 0] > 0
        x.append(r.features[early])
        y.append(np.zeros(early.sum(), bool))
        weight.append(np.full(early.sum(), SVDB_WEIGHT))
    return np.concatenate(x), np.concatenate(y), np.concatenate(weight)


class AfNet(nn.Module):
    """A weighted sum and its probability."""

    def __init__(self, weights: NDArray[np.float64], bias: float) -> None:
        super().__init__()
        self.decide = nn.Linear(len(weights), 1)
        with torch.no_grad():
            self.decide.weight.copy_(torch.tensor(weights[None], dtype=torch.float32))
            self.decide.bias.fill_(bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities (n, 1) of features (n, len(FEATURES))."""
        return torch.sigmoid(self.decide(features))


def train(
    cinc: Sequence[Rhythms], mitdb: Sequence[Rhythms], svdb: Sequence[Rhythms], folder: Path
) -> tuple[Path, Path]:
    """Fit on the training records, and write the float and the int8 file."""
    x, y, weight = rows(cinc, [r for r in mitdb if r.record in TRAINING], svdb)
    fitted = LogisticRegression(C=PENALTY, max_iter=2000).fit(x, y, weight)
    net = AfNet(fitted.coef_[0], float(fitted.intercept_[0]))
    return export(net, NAME, {"features": x.astype(np.float32)}, folder)


def answers(path: Path, records: Sequence[Rhythms]) -> list[NDArray[np.float64]]:
    """Return the probability of every half minute, 0 where it is not classified."""
    by_record = []
    for r in records:
        given = np.zeros(len(r.row))
        described = r.row >= 0
        if described.any():
            inputs = {"features": r.features.astype(np.float32)}
            given[described] = (run_file(path, inputs)[:, 0] * r.in_agent)[r.row[described]]
        by_record.append(given)
    return by_record


def score(
    cinc: Sequence[Rhythms], by_record: Sequence[NDArray[np.float64]],
    mitdb: Sequence[Rhythms], half_minutes: Sequence[NDArray[np.float64]],
) -> dict[str, Any]:  # fmt: skip
    """Return F1 of the class A on cinc2017, and Se and Sp of the half minutes of mitdb."""
    late = [p[1:] if len(p) > 1 else p for p in by_record]  # the first is that of five seconds
    found = np.array([len(p) > 0 and p.mean() >= RECORD_LIKELY for p in late])
    true = np.array([r.label == "A" for r in cinc])
    f1 = 200 * (found & true).sum() / (found.sum() + true.sum())
    draws = np.random.default_rng(0).integers(0, len(found), (2000, len(found)))
    hits = (found & true)[draws].sum(axis=1)
    sums = found[draws].sum(axis=1) + true[draws].sum(axis=1)
    given = np.concatenate(half_minutes) >= 0.5
    share = np.concatenate([r.fibrillates for r in mitdb])
    flutter = np.concatenate([r.flutters for r in mitdb]) > 0
    af, other = share > 0.5, share <= 0.5
    per_record: list[dict[str, Any]] = [
        {
            "record": r.record,
            "fibrillates": int((r.fibrillates > 0.5).sum()),
            "missed": int(((p < 0.5) & (r.fibrillates > 0.5)).sum()),
            "false": int(((p >= 0.5) & (r.fibrillates <= 0.5)).sum()),
            "half_minutes": len(p),
        }
        for r, p in zip(mitdb, half_minutes, strict=True)
    ]
    return {
        "cinc2017": {
            "f1_a": round(float(f1), 2),
            "f1_a_ci95": [
                round(float(q), 2) for q in np.percentile(200 * hits / sums, [2.5, 97.5])
            ],
            "missed": int((true & ~found).sum()),
            "false_of": {
                label: int((found & np.array([r.label == label for r in cinc])).sum())
                for label in "NO~"
            },
        },
        "mitdb": {
            "se": _percent(given[af]),
            "sp": _percent(~given[other]),
            "sp_without_flutter": _percent(~given[other & ~flutter]),
            "by_record": sorted(per_record, key=_errors)[:15],
        },
    }


def episodes(
    mitdb: Sequence[Rhythms], half_minutes: Sequence[NDArray[np.float64]]
) -> dict[str, Any]:
    """Return the scores of the alarm's rule applied to these probabilities, as epicmp counts."""
    table, results = [], []
    for r, of_record in zip(mitdb, half_minutes, strict=True):
        path = Path(record_path("mitdb", r.record))
        header = read_header(path.with_suffix(".hea"))
        reference = read_annotations(path.with_suffix(".atr"), header)
        rule, marks, last = AtrialFibrillationTracker(Limits().af_s), [], None
        for i, probability in enumerate(of_record.tolist()):
            at = (i + 1) * EVERY
            if last is not None and at - last > HOLD_S * ANALYSIS_RATE_HZ:
                marks.append((last, "(N"))
                last = None
            if r.row[i] < 0:
                continue
            proof = rule.take(Irregularity(at, probability, 0.0, 0.0))
            if proof is not None:
                if last is None:
                    marks.append((proof.onset, "(AFIB"))
                last = proof.window.decided
        if last is not None:
            marks.append((last, "(N"))
        rate = reference.rate_hz
        detected = make_annotations(
            [round(at / ANALYSIS_RATE_HZ * rate) for at, _ in marks], ["+"] * len(marks),
            rate_hz=rate, record=r.record, n_samples=reference.n_samples,
            aux=[name for _, name in marks],
        )  # fmt: skip
        result = compare_episodes(reference, detected, EpisodeKind.AF)
        results.append(result.row())
        if result.fn or result.fp:
            table.append({"record": r.record, "missed": result.fn, "false": result.fp})
    unpaced = [
        result for r, result in zip(mitdb, results, strict=True) if f"mitdb/{r.record}" not in PACED
    ]
    return _gross(results) | {
        "without_paced": _gross(unpaced), "by_record": sorted(table, key=_errors)
    }  # fmt: skip


def _gross(results: Sequence[Row]) -> dict[str, Any]:
    gross = aggregate(results).gross
    return {name: round(percent or 0.0, 2) for name, percent in gross.items()}


def _in_ectopy(
    svdb: Sequence[Rhythms], half_minutes: Sequence[NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Return for each half minute with two or more ectopic beats whether it is likely AF."""
    likely = [p[r.ectopic >= 2] >= LIKELY for r, p in zip(svdb, half_minutes, strict=True)]
    return np.concatenate(likely)


def _errors(record: dict[str, Any]) -> int:
    return -int(record["missed"] + record["false"])


def _percent(part: NDArray[np.bool_]) -> float:
    return round(100 * float(part.mean()), 2)


def cross_validate() -> dict[str, Any]:
    """Judge each group of records by models trained without it."""
    cinc, mitdb, svdb = load("cinc2017"), load("mitdb"), load("svdb")
    in_cinc, in_mitdb = group_of("cinc2017", cinc), group_of("mitdb", mitdb)
    in_svdb = group_of("svdb", svdb)
    kinds = ("float", "int8")
    of_cinc = {kind: [np.empty(0)] * len(cinc) for kind in kinds}
    of_mitdb = {kind: [np.empty(0)] * len(mitdb) for kind in kinds}
    of_svdb = {kind: [np.empty(0)] * len(svdb) for kind in kinds}
    for group in range(GROUPS):
        files = train(
            [r for r, g in zip(cinc, in_cinc, strict=True) if g != group],
            [r for r, g in zip(mitdb, in_mitdb, strict=True) if g != group],
            [r for r, g in zip(svdb, in_svdb, strict=True) if g != group],
            CACHE / f"fold{group}",
        )
        for kind, path in zip(kinds, files, strict=True):
            for records, of, into in (
                (cinc, in_cinc, of_cinc), (mitdb, in_mitdb, of_mitdb), (svdb, in_svdb, of_svdb)
            ):  # fmt: skip
                for i in np.flatnonzero(of == group):
                    (into[kind][i],) = answers(path, [records[i]])
    (CACHE / "answers.pickle").write_bytes(pickle.dumps((of_cinc, of_mitdb)))
    return {
        kind: score(cinc, of_cinc[kind], mitdb, of_mitdb[kind])
        | {
            "mitdb, alarm": episodes(mitdb, of_mitdb[kind]),
            "svdb": {"sp": _percent(~_in_ectopy(svdb, of_svdb[kind]))},
        }
        for kind in kinds
    }


def main() -> None:
    """Cross-validate; then train on all records, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-validate", action="store_true", help="only cross-validate")
    parser.add_argument("--out", type=Path, default=SHIPPED_IN)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = cross_validate()
    if arguments.cross_validate:
        print(json.dumps(result, indent=1))
        return
    cinc, mitdb, svdb = load("cinc2017"), load("mitdb"), load("svdb")
    files = train(cinc, mitdb, svdb, CACHE)
    sample = {"features": rows(cinc, [], [])[0][:256].astype(np.float32)}
    for kind, costs in zip(("float", "int8"), cost(files, sample), strict=True):
        result[kind] |= costs
    shipped = arguments.out / f"{NAME}.onnx"
    shipped.write_bytes(files[0].read_bytes())
    write_card(shipped, card(result))
    shipped.with_suffix(".md").write_text(page(result, FAILURE_MODES), encoding="utf-8")
    print(json.dumps(result, indent=1))


def card(result: dict[str, Any]) -> dict[str, Any]:
    """Return the card of the shipped model."""
    return {
        "labels": ["AF"],
        "input": {"points": 0, "features": list(FEATURES)},
        "quantisation": f"none: {len(FEATURES) + 1} numbers, for which int8 is no faster; both are "
        "measured",
        "training": {
            "database": "cinc2017, mitdb DS1 without 201, svdb with ectopic beats as none; all "
            "leads, detected beats, shipped beat model",
            "left_out": "half minutes of mitdb partly in atrial fibrillation, or in flutter",
            "penalty": PENALTY, "mitdb_weight": MITDB_WEIGHT, "svdb_weight": SVDB_WEIGHT,
            "command": "make train-af",
        },
        "test": {
            "database": f"the same, cross-validated by record in {GROUPS} groups",
            "record_likely": RECORD_LIKELY,
        },
        "metrics": result,
        "intended_use": "reports to an alerting agent that half a minute looks like atrial "
        "fibrillation; no diagnosis",
        "failure_modes": FAILURE_MODES,
    }  # fmt: skip


if __name__ == "__main__":
    main()
