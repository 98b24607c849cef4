"""Train the shipped beat model from the records: `make train-beats`.

Trains on the training patients of mitdb and on svdb (both leads of each, through the stages of the
gateway), quantises statically to int8 (QDQ), measures float and int8 on the test patients, and
writes the model with its card. `--cross-validate` measures a design on the training patients alone,
each judged by a network trained without that patient, and writes only its result: all choices are
made by it and recorded in LOG.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from tocsin_agent.lab.patients import DS2
from tocsin_dsp.beats.beats import FEATURES, LIMIT, SHAPE
from tocsin_dsp.beats.rr import FEATURES as RHYTHM
from tocsin_models.labels import LABELS
from tocsin_training.beats.page import page
from tocsin_training.beats.scoring import Counts, add_up, intervals, score_record
from tocsin_training.data.beats import (
    Beats,
    load_beats,
    load_beats_in_noise,
    load_irregular,
    load_noise,
    rhythms,
)
from tocsin_training.data.folds import BEAT_FOLDS, SVDB, TRAINING
from tocsin_training.data.scripted import scripted
from tocsin_training.exporting import SHIPPED_IN, cost, export, run_file, write_card
from tocsin_training.fitting import Plan, TrainingRun, best, train_in_step

NAME = "beats"
SEED = 20
MOST_EPOCHS = 16
PLAN = Plan(rate=1e-3, decay=2e-2, batch=256, memory=500, seed=SEED)
WEIGHTS = {"N": 1.0, "S": 1.5, "V": 1.5, "F": 1.0, "Q": 0.3}  # of a beat by class, in the loss
KEPT = {"mitdb": 0.5, "svdb": 0.2}  # share of the N beats used: most are alike
IRREGULAR = 2.0  # weight of a beat of cinc2017 in atrial fibrillation; half of it in sinus rhythm
SCRIPTED = 150  # patients with scripted rhythms
SCRIPTED_WEIGHT = 0.12  # of their beats, times the weight of the class
SCRIPTED_FROM = 60  # first of their beats that is used: before, no rhythm is known
SCRIPTED_KEPT = {"N": 0.15, "S": 0.5}  # share of their beats used
TILT = (1.0, 0.5, 1.0, 1.0)  # of N or S, V, F, Q: undoes the bias towards V of weights and shares
EARLY = 0.6  # factor on the odds of S, for the same reason

R_AT = 35  # point of a shape at the R peak
# Augmentation of shapes, relative to the typical amplitude.
WARP = 0.08  # greatest relative change of duration
DRIFT = 0.3  # greatest drift over the window
GAIN = 0.15  # greatest relative change of amplitude
MUSCLE = 0.04  # greatest standard deviation of added noise
NOISE = 0.15  # standard deviation of noise added to scaled features

PERCENTILE = 99.99  # of the values that the int8 ranges cover
IN_FLOAT = ("morphology.0/", "morphology.1/", "rhythm", "origin", "early", "Concat")
"""Layers kept in float: the first, whose inputs need finer steps, and the last, which are small."""
OF_THE_LAST = ("core_likeness_before", "core_difference_before", "share_before")
"""Features of the beat before."""
IN_NOISE = "-in-noise"
"""Suffix of a database: the same records with noise mixed in."""
CACHE = Path(".cache/beats")
RESULT = Path(__file__).with_name("cross-validation.json")


class BeatNet(nn.Module):
    """Origin of a beat from shapes and features, and prematurity from features alone.

    Shapes and features decide between N or S, ventricular, fusion and unknown. Between N and S the
    features alone decide, in a network of its own: one with the shapes as inputs overfits to the
    training patients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.morphology = nn.Sequential(
            nn.Conv1d(2, 32, 7, stride=2, padding=3), nn.ReLU(),
            nn.Conv1d(32, 48, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv1d(48, 64, 5, stride=2, padding=2), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(640, 48), nn.ReLU(),
        )  # fmt: skip
        self.rhythm = nn.Sequential(nn.Linear(len(FEATURES), 48), nn.ReLU(), nn.Dropout(0.1))
        self.origin = nn.Sequential(nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 4))
        self.early = nn.Sequential(
            nn.Linear(len(FEATURES), 32), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1),
        )  # fmt: skip

    def forward(
        self, shapes: torch.Tensor, features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, 4) of N or S, V, F and Q, and (n, 1) of S if N or S."""
        both = torch.cat((self.morphology(shapes), self.rhythm(features)), 1)
        return self.origin(both), self.early(features)


class Answer(nn.Module):
    """The network as shipped: probabilities in the order of the labels."""

    def __init__(self, net: BeatNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, shapes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (n, len(LABELS))."""
        origin, early = self.net(shapes, features)
        p, e = torch.softmax(origin, 1) * torch.tensor(TILT), torch.sigmoid(early)
        p = p / p.sum(1, keepdim=True)
        return torch.cat((p[:, :1] * (1 - e), p[:, :1] * e, p[:, 1:]), 1)


def load(database: str, records: Iterable[str], leads: Iterable[int]) -> list[Beats]:
    """Load the beats of each record and lead, from the cache if they are there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    loaded = []
    for record in records:
        for lead in leads:
            cached = CACHE / f"{database}-{record}-{lead}.pickle"
            if not cached.exists():
                cached.write_bytes(pickle.dumps(tuple(make(database, record, lead))))
            loaded.append(Beats(*pickle.loads(cached.read_bytes())))
    return loaded


def make(database: str, record: str, lead: int) -> Beats:
    """Run a lead of a record through detection and description, and label the detections."""
    if database == "cinc2017":
        return load_irregular(record)
    if database == "nstdb":
        return load_noise(record, lead)
    if database.endswith(IN_NOISE):
        return load_beats_in_noise(record, lead, database.removesuffix(IN_NOISE))
    return load_beats(record, lead, database)


def in_script(number: int, donor: Beats) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features and labels of a scripted patient with the beat shapes of a donor.

    The features of the shape are drawn from the donor's beats of the class, for ectopic beats from
    the normal ones where there are few: they are conducted normally through the ventricles.
    """
    draws = np.random.default_rng((SEED, number))
    measured, labels = scripted(number)
    centre, gain = np.array([FEATURES[name] for name in RHYTHM]).T
    rhythm = np.clip((measured - centre) * gain, -LIMIT, LIMIT)
    own = donor.features[:, len(RHYTHM) :]
    normal, ectopic = (np.flatnonzero(donor.labels == LABELS.index(label)) for label in "NS")
    drawn = draws.choice(normal, len(labels))
    if len(ectopic) > 20:
        drawn = np.where(labels == LABELS.index("S"), draws.choice(ectopic, len(labels)), drawn)
    shape = own[drawn]
    before = [list(FEATURES).index(name.removesuffix("_before")) for name in OF_THE_LAST]
    shape[1:, -len(before) :] = shape[:-1, np.array(before) - len(RHYTHM)]
    share = np.array([SCRIPTED_KEPT.get(label, 0.0) for label in LABELS])[labels]
    kept = (draws.random(len(labels)) < share) & (np.arange(len(labels)) >= SCRIPTED_FROM)
    return np.hstack((rhythm, shape))[kept].astype(np.float32), labels[kept]


class TrainingBeats:
    """The training set: shapes, features, labels and weights of the beats.

    The last beats are those of scripted patients; they have features and no shapes.
    """

    def __init__(self, mitdb: Iterable[str], svdb: Iterable[str]) -> None:
        draws = np.random.default_rng(SEED)
        used: list[tuple[Beats, NDArray[np.bool_], float]] = []
        donors: list[Beats] = []
        for database, records in (("mitdb", tuple(mitdb)), ("svdb", tuple(svdb))):
            for noisy in ("", IN_NOISE):
                for beats in load(database + noisy, records, (0, 1)):
                    kept = draws.random(len(beats.labels)) < KEPT[database]
                    kept |= beats.labels != LABELS.index("N")
                    if noisy:  # noise peaks resemble fast tachycardia; nstdb has enough of them
                        kept &= beats.labels != LABELS.index("Q")
                    used.append((beats, kept, 1.0))
                    if not noisy:
                        donors.append(beats)
        given = rhythms()
        odd = [r for r, rhythm in given.items() if int(r[1:]) % 2 and rhythm in "NA"]
        for beats in load("cinc2017", odd, (0,)):
            weight = IRREGULAR if given[beats.record] == "A" else IRREGULAR / 2
            used.append((beats, beats.labels == LABELS.index("N"), weight))
        noise = load("nstdb", ("em", "ma"), (0, 1))
        used += [(beats, np.ones(len(beats.labels), bool), 1.0) for beats in noise]
        made = [in_script(n, donors[n % len(donors)]) for n in range(SCRIPTED)]
        self.shapes = torch.tensor(np.concatenate([b.shapes[k] for b, k, _ in used]))
        features = [b.features[k] for b, k, _ in used] + [f for f, _ in made]
        labels = np.concatenate([b.labels[k] for b, k, _ in used] + [of for _, of in made])
        by_source = [np.full(int(k.sum()), weight) for _, k, weight in used]
        by_source += [np.full(len(of), SCRIPTED_WEIGHT) for _, of in made]
        by_class = np.array([WEIGHTS[label] for label in LABELS])[labels]
        self.features = torch.tensor(np.concatenate(features))
        self.labels = torch.tensor(labels)
        self.weights = torch.tensor(np.concatenate(by_source) * by_class, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all examples."""
        return self.shapes, self.features, self.labels, self.weights

    def loss(self, net: BeatNet, batch: torch.Tensor) -> torch.Tensor:
        """Return the mean weighted loss of a batch of beats, augmented."""
        real, made = batch[batch < len(self.shapes)], batch[batch >= len(self.shapes)]
        origin, early = net(varied(self.shapes[real]), self._varied_features(real))
        p = F.log_softmax(origin, 1)
        logs = torch.cat(
            (p[:, :1] + F.logsigmoid(-early), p[:, :1] + F.logsigmoid(early), p[:, 1:]), 1
        )
        losses = F.nll_loss(logs, self.labels[real], reduction="none")
        total = (losses * self.weights[real]).sum()
        early = net.early(self._varied_features(made))[:, 0]
        losses = F.binary_cross_entropy_with_logits(
            early, (self.labels[made] == LABELS.index("S")).float(), reduction="none"
        )
        return (total + (losses * self.weights[made]).sum()) / len(batch)

    def _varied_features(self, batch: torch.Tensor) -> torch.Tensor:
        features = self.features[batch]
        return features + NOISE * torch.randn_like(features)


def varied(shapes: torch.Tensor) -> torch.Tensor:
    """Vary duration, noise, drift, gain and polarity, as other patients and electrodes would."""
    n = len(shapes)
    stretch = 1 + WARP * (2 * torch.rand(n, 1) - 1)
    at = ((torch.arange(SHAPE) - R_AT)[None] * stretch + R_AT).clamp(0, SHAPE - 1.001)
    left = at.long()
    share = (at - left)[:, None]
    index = left[:, None].expand(-1, 2, -1)
    shapes = torch.gather(shapes, 2, index) * (1 - share) + torch.gather(
        shapes, 2, index + 1
    ) * share  # fmt: skip
    muscle = MUSCLE * torch.rand(n, 1, 1) * torch.tensor([1.0, 0.3])[:, None]
    shapes = shapes + muscle * torch.randn_like(shapes)
    drift = DRIFT * (torch.rand(n, 1) - 0.5) * torch.linspace(-1, 1, SHAPE)
    shapes = torch.stack((shapes[:, 0] + drift, shapes[:, 1]), 1)
    shapes = shapes * (1 + GAIN * (2 * torch.rand(n, 1, 1) - 1))
    polarity = torch.where(torch.rand(n, 1, 1) < 0.4, -1.0, 1.0)
    return torch.clamp(shapes * polarity, -LIMIT, LIMIT)


def inputs(beats: Beats) -> dict[str, NDArray[np.float32]]:
    """Return a model's inputs."""
    return {"shapes": beats.shapes, "features": beats.features}


def answer(net: BeatNet) -> Answer:
    """Return the network as shipped."""
    with torch.no_grad():
        net.early[-1].bias += math.log(EARLY)
    whole = Answer(net)
    whole.eval()
    return whole


def exported(net: BeatNet, examples: TrainingBeats, folder: Path = CACHE) -> tuple[Path, Path]:
    """Write the float and the int8 file; the int8 ranges come from the training set."""
    real = len(examples.shapes)
    some = torch.randperm(real, generator=torch.Generator().manual_seed(SEED))[:4096]
    ranges = {
        "shapes": examples.shapes[some].numpy(), "features": examples.features[some].numpy()
    }  # fmt: skip
    return export(answer(net), NAME, ranges, folder, percentile=PERCENTILE, in_float=IN_FLOAT)


def labels_of_file(path: Path, beats: Beats) -> NDArray[np.int64]:
    """Label beats with a model file."""
    return np.asarray(run_file(path, inputs(beats)).argmax(1))


def training_run(examples: TrainingBeats, name: str, *, resume: bool) -> TrainingRun:
    """Return a new training run, or one that continues after its last checkpoint."""
    return TrainingRun(BeatNet, examples, PLAN, CACHE / "checkpoints" / name, resume=resume)


def cross_validate(*, resume: bool) -> dict[str, Any]:
    """Score each training patient by an int8 file trained without that patient; lead 0.

    The groups are trained in step. The number of epochs is that with the highest mean of the F1 of
    VEB on mitdb and on svdb, over the groups left out.
    """
    examples = [
        TrainingBeats([r for r in TRAINING if r not in mitdb], [r for r in SVDB if r not in svdb])
        for mitdb, svdb in BEAT_FOLDS
    ]
    runs = [training_run(given, f"group-{i}", resume=resume) for i, given in enumerate(examples)]
    scores = train_in_step(runs, judged, MOST_EPOCHS, "F1 of VEB")
    files = [
        exported(run.after(best(scores)), given, CACHE / f"fold-{i}")[1]
        for i, (run, given) in enumerate(zip(runs, examples, strict=True))
    ]
    quantised = left_out([functools.partial(labels_of_file, file) for file in files])
    return {
        **{database: summary(scored) for database, scored in quantised.items()},
        "epochs": best(scores),
        "veb_f1_by_epoch": scores,
    }


def judged(nets: Sequence[nn.Module]) -> float:
    """Return the mean F1 of networks, one per group, on the patients left out of each."""
    return mean_f1(left_out([functools.partial(labels_of_net, answer(net)) for net in nets]))


def left_out(
    answers: Sequence[Callable[[Beats], NDArray[np.int64]]],
) -> dict[str, list[Counts]]:
    """Score each group of training patients by the classifier trained without them."""
    counts: dict[str, list[Counts]] = {"mitdb": [], "svdb": []}
    for group, given in zip(BEAT_FOLDS, answers, strict=True):
        for database, records in zip(counts, group, strict=True):
            counts[database] += [score_record(b, given(b)) for b in load(database, records, (0,))]
    return counts


def labels_of_net(net: Answer, beats: Beats) -> NDArray[np.int64]:
    """Label beats with a network."""
    with torch.no_grad():
        given = net(torch.tensor(beats.shapes), torch.tensor(beats.features))
    return np.asarray(given.argmax(1).numpy())


def mean_f1(counts: dict[str, list[Counts]]) -> float:
    """Return the mean of the F1 of VEB over databases: alarms depend on ventricular beats."""
    of_all = [add_up(scored).counted("V") for scored in counts.values()]
    return round(float(np.mean([200 * tp / (2 * tp + fn + fp) for tp, fn, fp in of_all])), 3)


def summary(scored: list[Counts]) -> dict[str, Any]:
    """Return gross scores with intervals by record, and each record's."""
    gross = add_up(scored).as_dict()
    per_record = {c.record: c.as_dict() for c in scored}
    for of_record in per_record.values():
        del of_record["labels"], of_record["matrix"]
    return {**gross, "intervals": intervals(scored), "per_record": per_record}


def main() -> None:
    """Train, quantise, measure and write; or cross-validate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-validate", action="store_true", help="only cross-validate")
    parser.add_argument(
        "--resume", action="store_true", help="continue after the checkpoints of an interrupted run"
    )
    parser.add_argument("--out", type=Path, default=SHIPPED_IN)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cross_validate:
        result = cross_validate(resume=arguments.resume)
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        for database in ("mitdb", "svdb"):
            print(database, "VEB", result[database]["veb"], "SVEB", result[database]["sveb"])
        return
    validated = json.loads(RESULT.read_text(encoding="utf-8"))
    examples = TrainingBeats(TRAINING, SVDB)
    run = training_run(examples, "shipped", resume=arguments.resume)
    while run.epochs < validated["epochs"]:
        run.train_epoch()
    ship(*exported(run.after(validated["epochs"]), examples), arguments.out, validated)


def ship(floating: Path, quantised: Path, folder: Path, validated: dict[str, Any]) -> None:
    """Measure both files on the test patients; write the int8 one with its card."""
    test = load("mitdb", DS2, (0,))
    metrics: dict[str, Any] = {}
    costs = cost((floating, quantised), inputs(test[0]))
    for name, path, its_cost in zip(("float", "int8"), (floating, quantised), costs, strict=True):
        scored = [score_record(b, labels_of_file(path, b)) for b in test]
        without_232 = add_up([c for c in scored if c.record != "232"]).as_dict()
        metrics[name] = {
            "ds2": summary(scored), "ds2_sveb_without_232": without_232["sveb"],
            **its_cost,
        }  # fmt: skip
    shipped = folder / quantised.name
    shipped.write_bytes(quantised.read_bytes())
    write_card(shipped, card(metrics, validated))
    written = json.loads(shipped.with_suffix(".json").read_text(encoding="utf-8"))
    shipped.with_suffix(".md").write_text(page(written), encoding="utf-8")
    for name, of in metrics.items():
        print(name, "VEB", of["ds2"]["veb"], "SVEB", of["ds2"]["sveb"])


def card(metrics: dict[str, Any], validated: dict[str, Any]) -> dict[str, Any]:
    """Return the card of the shipped model."""
    return {
        "labels": LABELS,
        "input": {"points": SHAPE, "rate_hz": 125, "features": list(FEATURES)},
        "quantisation": "static int8 QDQ, per channel, ranges of the 99.99th percentile over 4096 "
        "training beats; the first and the last layers in float",
        "training": {
            "database": "mitdb DS1 without 201, svdb, both leads; sinus rhythm and atrial "
            "fibrillation of the odd records of cinc2017, as Q the first half of nstdb em and ma, "
            "which are also mixed into mitdb and svdb; whether a beat from above is early, also by "
            f"{SCRIPTED} scripted patients",
            "records": {"mitdb": TRAINING, "svdb": SVDB},
            "epochs": validated["epochs"], **PLAN._asdict(), "weights": WEIGHTS,
            "scripted": {"patients": SCRIPTED, "weight": SCRIPTED_WEIGHT},
            "command": "make train-beats",
        },
        "test": {"database": "mitdb, lead 0, detected beats, from 5:00", "records": DS2},
        "metrics": metrics,
        "cross_validation": validated,
        "intended_use": "labels beats for rhythm rules in an alerting agent; no diagnosis",
        "failure_modes": [
            "supraventricular runs that begin gradually, or are slow, look like sinus rhythm",
            "sinus tachycardia that begins suddenly looks like a supraventricular run",
            "in atrial fibrillation short intervals are often taken for ectopic (not by the agent)",
            "ectopic beats from the junction at the sinus rate are not found: P waves are not used",
            "fusion beats are rarely recognised as such",
            "aberrant conduction and new bundle branch block can look ventricular",
            "the model does not wait for the next beat, so a compensatory pause is no evidence",
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
