"""Train the shipped model of ventricular fibrillation from the records: `make train-vf`.

The figures of the card are cross-validated: vfdb is divided into eight groups of records, each with
one record that has fibrillation, and every group is judged by a network, quantised as the shipped
one is, that was trained without it. The networks are trained in step until the score of the groups
left out stops improving; the shipped network is then trained on all of vfdb for as many epochs.
`--cross-validate` only measures. LOG.md records what was tried.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from tocsin_agent.lab.patients import DS2, NOISE_RECORDS
from tocsin_dsp.exact import on_sample_grid
from tocsin_dsp.rhythms.fibrillation import FEATURES, POINTS, describe
from tocsin_training.data.folds import MITDB_TRAINS_VF, SVDB, SVDB_FOLDS, VFDB, VFDB_FOLDS
from tocsin_training.data.noise import COLOURS, SYNTHETIC_NOISE
from tocsin_training.data.windows import MARGIN, SYNTHETIC, Windows, cinc2017_records, load_windows
from tocsin_training.exporting import SHIPPED_IN, cost, export, run_file, write_card
from tocsin_training.fitting import Plan, TrainingRun, best, train_in_step
from tocsin_training.vf.page import page
from tocsin_training.vf.scoring import Judged, area_under_roc, score_windows

NAME = "vf"
SEED = 4
MOST_EPOCHS = 16
PLAN = Plan(rate=1.5e-3, decay=1e-2, batch=256, memory=500, seed=SEED)
TRUE_WEIGHT = 1.5  # of a window with fibrillation in the loss
FAST_VT_HZ = 2.4  # dominant frequency from which a window marked VT is left out of training
THRESHOLD = 0.4  # probability from which a window counts as fibrillation in the scores
CALIBRATION = 4096  # windows from which the int8 ranges are computed
SYNTHETIC_PATIENTS = ("1", "2", "3")
FAILURE_MODES = (
    "tachycardia that is fast or has no QRS is called fibrillation (both have high priority)",
    "fibrillation fainter than 0.1 mV peak to peak is taken for asystole",
    "slow coarse noise, such as chest compressions, can look like fibrillation",
    "eight patients fibrillate in the training data: the intervals are wide",
)
CACHE = Path(".cache/vf")
Rows = tuple[NDArray[np.float32], NDArray[np.float32]]  # wide windows, share that fibrillates


class VfNet(nn.Module):
    """Three convolutions over the waveform, pooled over time, and the four features beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.waveform = nn.Sequential(
            nn.Conv1d(1, 16, 9, stride=2, padding=4), nn.ReLU(),
            nn.Conv1d(16, 32, 7, stride=2, padding=3), nn.ReLU(),
            nn.Conv1d(32, 32, 7, stride=2, padding=3), nn.ReLU(),
        )  # fmt: skip
        steps = POINTS // 8
        self.mean, self.greatest = nn.AvgPool1d(steps), nn.MaxPool1d(steps)
        self.decide = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(64 + len(FEATURES), 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, shapes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return logits (n, 1) of shapes (n, 1, POINTS), features (n, len(FEATURES))."""
        y = self.waveform(shapes)
        pooled = torch.cat((self.mean(y), self.greatest(y)), 1).flatten(1)
        logits: torch.Tensor = self.decide(torch.cat((pooled, features), 1))
        return logits


class Answer(nn.Module):
    """The network as shipped: the probability of fibrillation, (n, 1)."""

    def __init__(self, net: VfNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, shapes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities."""
        return torch.sigmoid(self.net(shapes, features))


def load(database: str, records: Iterable[str], leads: Iterable[int] = (0, 1)) -> list[Windows]:
    """Load the windows of records, from the cache if they are there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    loaded = []
    for record in records:
        for lead in leads:
            cached = CACHE / f"{database}-{record}-{lead}.pickle"
            if not cached.exists():
                made = load_windows(database, record, lead)
                cached.write_bytes(pickle.dumps(tuple(made)))
            loaded.append(Windows(*pickle.loads(cached.read_bytes())))
    return loaded


def inputs(windows: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """Return the model's inputs for windows, (n, POINTS)."""
    described = describe(on_sample_grid(windows))
    return {
        "shapes": described.shapes[:, None].astype(np.float32),
        "features": described.features.astype(np.float32),
    }


def recorded(wide: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return windows as they were recorded."""
    return wide[:, MARGIN : MARGIN + POINTS].astype(np.float64)


def varied(wide: NDArray[np.float32], draws: np.random.Generator) -> NDArray[np.float64]:
    """Vary rate, phase, gain, polarity and noise, as other patients and electrodes would."""
    n = len(wide)
    stretch = 1 + 0.1 * draws.uniform(-1, 1, (n, 1))
    middle = (wide.shape[1] - 1) / 2 + draws.uniform(-0.5, 0.5, (n, 1))
    at = middle + (np.arange(POINTS) - (POINTS - 1) / 2) * stretch
    at = np.clip(at, 0, wide.shape[1] - 1.001)
    low = at.astype(int)
    x = np.take_along_axis(wide, low, 1).astype(np.float64)
    x += (at - low) * (np.take_along_axis(wide, low + 1, 1) - x)
    noise = 0.25 * x.std(axis=1, keepdims=True) * draws.uniform(0, 1, (n, 1)) ** 2
    x += noise * draws.standard_normal((n, POINTS))
    gain = np.exp2(draws.uniform(-1, 1, (n, 1))) * draws.choice([-1.0, 1.0], (n, 1))
    return np.asarray(x * gain)


def dominant_hz(wide: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the dominant frequency of each window between 1 and 12 Hz."""
    shapes = inputs(recorded(wide))["shapes"][:, 0] * np.hanning(POINTS)
    power = np.abs(np.fft.rfft(shapes, 4 * POINTS)) ** 2
    hz = np.fft.rfftfreq(4 * POINTS, 1 / 50)
    band = (hz >= 1) & (hz <= 12)
    return np.asarray(hz[band][power[:, band].argmax(axis=1)])


def rows(windows: Sequence[Windows], fastest_vt_hz: float = FAST_VT_HZ) -> Rows:
    """Return the windows for training.

    Of vfdb, tachycardia faster than 144 per minute is left out: the mark `(VT` there includes much
    that has no QRS and fibrillates, and flutter (423, 427, 612, 614). It stays in the test, as no
    fibrillation.
    """
    wide, share = [np.empty((0, POINTS + 2 * MARGIN), np.float32)], [np.empty(0, np.float32)]
    for w in windows:
        described = w.row >= 0
        used = np.ones(described.sum(), bool)
        tachycardia = (w.rhythm[described] == "(VT") & ~w.true[described]
        used[tachycardia] = dominant_hz(w.wide[tachycardia]) < fastest_vt_hz
        wide.append(w.wide[used])
        share.append(w.share[described][used])
    return np.concatenate(wide), np.concatenate(share)


def training_rows(vfdb: Iterable[str], svdb: Iterable[str]) -> Rows:
    """Return the training windows of given records of vfdb and svdb, and of all other databases."""
    noise = load("nstdb", NOISE_RECORDS) + load(SYNTHETIC_NOISE, COLOURS)
    parts = [
        rows(load("vfdb", vfdb)),
        rows(load("mitdb", MITDB_TRAINS_VF)),
        rows(load("svdb", svdb)),
        tuple(x[::4] for x in rows(noise)),
        rows(load("cinc2017", cinc2017_records()[0], (0,))),
        rows(load(SYNTHETIC, SYNTHETIC_PATIENTS, range(4)), np.inf),
    ]
    wide, share = zip(*parts, strict=True)
    return np.concatenate(wide), np.concatenate(share)


class TrainingWindows:
    """The training set; the target of a window that contains an onset is a share."""

    def __init__(self, given: Rows) -> None:
        self.wide, self.share = given

    def __len__(self) -> int:
        return len(self.share)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return all windows and targets."""
        return torch.tensor(self.wide), torch.tensor(self.share)

    def loss(self, net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch of windows, augmented."""
        draws = np.random.default_rng(int(torch.randint(2**31, ())))
        given = inputs(varied(self.wide[batch.numpy()], draws))
        y = torch.tensor(self.share[batch.numpy()])
        logits = net(**{name: torch.tensor(x) for name, x in given.items()})[:, 0]
        losses = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        return (losses * torch.where(y > 0.5, TRUE_WEIGHT, 1.0)).mean()


def exported(net: nn.Module, examples: TrainingWindows, folder: Path) -> tuple[Path, Path]:
    """Write the float and the int8 file."""
    some = np.random.default_rng(SEED).permutation(len(examples))[:CALIBRATION]
    given = inputs(recorded(examples.wide[some]))
    return export(Answer(net), NAME, given, folder, narrow=True)


def training_run(examples: TrainingWindows, name: str, *, resume: bool) -> TrainingRun:
    """Return a new training run, or one that continues after its last checkpoint."""
    return TrainingRun(VfNet, examples, PLAN, CACHE / "checkpoints" / name, resume=resume)


def judged_by(path: Path, windows: Sequence[Windows]) -> list[Judged]:
    """Classify windows with a model file."""
    return [Judged.of(w, run_file(path, inputs(recorded(w.wide)))[:, 0]) for w in windows]


def training_without(group: int) -> TrainingWindows:
    """Return the training set without a group of vfdb and of svdb."""
    vfdb = [r for r in VFDB if r not in VFDB_FOLDS[group]]
    svdb = [r for r in SVDB if r not in SVDB_FOLDS[group]]
    return TrainingWindows(training_rows(vfdb, svdb))


def auc_percent(nets: Sequence[nn.Module]) -> float:
    """Return the AUC of fibrillation against all else in the groups left out, %.

    Each network classifies its group of vfdb, both leads; all answers are ranked together.
    """
    given, true = [], []
    for net, group in zip(nets, VFDB_FOLDS, strict=True):
        for windows in load("vfdb", group):
            x = {k: torch.tensor(v) for k, v in inputs(recorded(windows.wide)).items()}
            with torch.no_grad():
                judged = Judged.of(windows, net(**x)[:, 0].sigmoid().numpy())
            given.append(judged.given)
            true.append(windows.true)
    return round(100 * area_under_roc(np.concatenate(given), np.concatenate(true)), 3)


def cross_validate(*, resume: bool) -> tuple[dict[str, list[Judged]], int]:
    """Judge each group of vfdb and svdb by networks trained without it, float and int8.

    Returns the answers, and the number of epochs with the best score.
    """
    groups = range(len(VFDB_FOLDS))
    examples = [training_without(group) for group in groups]
    runs = [training_run(examples[i], f"group-{i}", resume=resume) for i in groups]
    scores = train_in_step(runs, auc_percent, MOST_EPOCHS, "AUC in %")
    judged: dict[str, list[Judged]] = {}
    for i, (fold, patients) in enumerate(zip(VFDB_FOLDS, SVDB_FOLDS, strict=True)):
        files = exported(runs[i].after(best(scores)), examples[i], CACHE / f"fold{i}")
        for kind, path in zip(("float", "int8"), files, strict=True):
            for lead in (0, 1):
                judged.setdefault(f"{kind} vfdb {lead}", []).extend(
                    judged_by(path, load("vfdb", fold, (lead,)))
                )
            judged.setdefault(f"{kind} svdb 0", []).extend(
                judged_by(path, load("svdb", patients, (0,)))
            )
    return judged, best(scores)


def false_per_day(judged: Sequence[Judged]) -> dict[str, Any]:
    """Count the false windows in a database, in all and by record."""
    false = {
        j.windows.record: int(((j.given >= THRESHOLD) & ~j.windows.true).sum()) for j in judged
    }
    hours = sum(len(j.given) for j in judged) / 3600
    worst = sorted(((n, r) for r, n in false.items() if n), reverse=True)
    return {
        "hours": round(hours, 2),
        "false_windows": sum(false.values()),
        "false_windows_in_24h": round(24 * sum(false.values()) / hours, 2),
        "records": {record: n for n, record in worst},
    }


def metrics(judged: dict[str, list[Judged]]) -> dict[str, Any]:
    """Return the scores of the cross-validation: both leads of vfdb, and svdb, which has no VF."""
    result: dict[str, Any] = {}
    for kind in ("float", "int8"):
        result[kind] = {
            "vfdb, first lead": score_windows(judged[f"{kind} vfdb 0"], THRESHOLD),
            "vfdb, second lead": score_windows(judged[f"{kind} vfdb 1"], THRESHOLD),
            "svdb, first lead": false_per_day(judged[f"{kind} svdb 0"]),
        }
    return result


def show(result: dict[str, Any]) -> None:
    """Print the scores."""
    for kind, scores in result.items():
        for name, s in scores.items():
            if not isinstance(s, dict):
                print(f"{kind} {name}: {s}")
            elif "sp_by_rhythm" in s:
                rhythms = {k: v["sp"] for k, v in s["sp_by_rhythm"].items()}
                print(f"{kind} {name}: Se {s['se']} {s['se_ci95']} Sp {s['sp']} {s['sp_ci95']}")
                print(f"   Sp by rhythm {rhythms}; onset to decision {s['onset_to_decision_s']}")
            else:
                print(f"{kind} {name}: {s}")


def main() -> None:
    """Cross-validate; then train on all records, quantise, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-validate", action="store_true", help="only cross-validate")
    parser.add_argument(
        "--resume", action="store_true", help="continue after the checkpoints of an interrupted run"
    )
    parser.add_argument("--out", type=Path, default=SHIPPED_IN)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    judged, epochs = cross_validate(resume=arguments.resume)
    (CACHE / "judged.pickle").write_bytes(pickle.dumps(judged))
    result = metrics(judged)
    show(result)
    if arguments.cross_validate:
        return
    examples = TrainingWindows(training_rows(VFDB, SVDB))
    run = training_run(examples, "shipped", resume=arguments.resume)
    while run.epochs < epochs:
        run.train_epoch()
    files = exported(run.after(epochs), examples, CACHE)
    ship(result, files, examples, epochs, arguments.out)


def ship(
    result: dict[str, Any],
    files: tuple[Path, Path],
    examples: TrainingWindows,
    epochs: int,
    folder: Path,
) -> None:
    """Measure the files on records outside the training, and write the model with its cards."""
    not_trained = {
        "mitdb 207, first lead (not trained on)": ("mitdb", ("207",)),
        "mitdb DS2, first lead (not trained on)": ("mitdb", DS2),
    }
    sample = inputs(recorded(examples.wide[:256]))
    for kind, path, its_cost in zip(("float", "int8"), files, cost(files, sample), strict=True):
        for name, (database, records) in not_trained.items():
            outside = judged_by(path, load(database, records, (0,)))
            scored = score_windows(outside, THRESHOLD)
            result[kind][name] = {k: scored[k] for k in ("windows", "se", "sp")}
            result[kind][name] |= false_per_day(outside)
        result[kind] |= its_cost
    shipped = folder / files[1].name
    shipped.write_bytes(files[1].read_bytes())
    write_card(shipped, card(result, epochs))
    shipped.with_suffix(".md").write_text(page(result, FAILURE_MODES), encoding="utf-8")
    show(result)


def card(result: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return the card of the shipped model."""
    return {
        "labels": ["VF"],
        "input": {"points": POINTS, "rate_hz": 50, "features": list(FEATURES)},
        "threshold": THRESHOLD,
        "quantisation": f"static int8 QDQ, per channel, weights of seven bits, MinMax over "
        f"{CALIBRATION} training windows",
        "training": {
            "database": "vfdb (both leads), mitdb DS1 without 201 and 207, svdb, noise of nstdb, "
            "white, pink and brown noise, half of cinc2017, three scripted patients with VT of "
            "115 to 235/min and VF",
            "records": {"vfdb": VFDB, "mitdb": MITDB_TRAINS_VF, "svdb": SVDB},
            "left_out": f"windows marked (VT whose strongest frequency is {FAST_VT_HZ} Hz or more",
            "epochs": epochs, **PLAN._asdict(), "command": "make train-vf",
        },
        "test": {
            "database": "vfdb, cross-validated by record in eight groups; every window of 4 s, one "
            "a second, counts, with the label that fills most of it; (VT and (NOISE are negative",
            "groups": VFDB_FOLDS,
        },
        "metrics": result,
        "intended_use": "reports to an alerting agent that 4 s of one lead look like ventricular "
        "fibrillation or flutter; no diagnosis",
        "failure_modes": FAILURE_MODES,
    }  # fmt: skip


if __name__ == "__main__":
    main()
