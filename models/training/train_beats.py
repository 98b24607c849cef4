"""From records to the shipped beat model: `make train-beats`.

Trains on the training patients of mitdb (both leads of each, through the live chain), quantises
statically to int8 (QDQ), measures float and int8 on the test patients, and writes the model with
its card. `--cross-validate` measures a design inside the training patients and writes nothing:
every choice is made there and noted in LOG.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from dataset import Beats, load_beats
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from scoring import Counts, add_up, score_record
from splits import DS2, FOLDS, TRAINING
from torch import nn

from tocsin_dsp.beats import FEATURES, LIMIT, SHAPE
from tocsin_models.labels import LABELS

NAME = "beats"
SEED = 20
EPOCHS = 12
BATCH = 256
RATE = 2e-3
RARE_POWER = 0.35  # weight of a class: (all beats / its beats) to this power
SHIPPED_IN = Path(__file__).parent.parent / "tocsin_models"
CACHE = Path(".cache/beats")


class BeatNet(nn.Module):
    """Two shapes through three convolutions, the rhythm beside them, one decision."""

    def __init__(self) -> None:
        super().__init__()
        self.morphology = nn.Sequential(
            nn.Conv1d(2, 32, 7, stride=2, padding=3), nn.ReLU(),
            nn.Conv1d(32, 48, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv1d(48, 64, 5, stride=2, padding=2), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.4), nn.Linear(640, 48), nn.ReLU(),
        )  # fmt: skip
        self.rhythm = nn.Sequential(nn.Linear(len(FEATURES), 16), nn.ReLU())
        self.decide = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, len(LABELS)))

    def forward(self, shapes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return logits (n, len(LABELS)) of shapes (n, 2, SHAPE), features (n, len(FEATURES))."""
        seen = torch.cat((self.morphology(shapes), self.rhythm(features)), 1)
        logits: torch.Tensor = self.decide(seen)
        return logits


class Answer(nn.Module):
    """The network as it is shipped: probabilities instead of logits."""

    def __init__(self, net: BeatNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, shapes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return probabilities of shape (n, len(LABELS))."""
        return torch.softmax(self.net(shapes, features), 1)


def load(records: Iterable[str], leads: Iterable[int]) -> list[Beats]:
    """Load beats of each record and lead, from the cache where they have been made before."""
    CACHE.mkdir(parents=True, exist_ok=True)
    loaded = []
    for record in records:
        for lead in leads:
            cached = CACHE / f"{record}-{lead}.pickle"
            if not cached.exists():
                cached.write_bytes(pickle.dumps(tuple(load_beats(record, lead))))
            loaded.append(Beats(*pickle.loads(cached.read_bytes())))
    return loaded


def augment(shapes: torch.Tensor) -> torch.Tensor:
    """Vary what a new patient or electrode would: polarity, muscle noise, a drifting baseline."""
    n = len(shapes)
    beat, usual = shapes[:, 0], shapes[:, 1]
    beat = beat + 0.03 * torch.rand(n, 1) * torch.randn(n, SHAPE)
    beat = beat + 0.2 * (torch.rand(n, 1) - 0.5) * torch.linspace(-1, 1, SHAPE)
    polarity = torch.where(torch.rand(n, 1, 1) < 0.3, -1.0, 1.0)
    return torch.clamp(torch.stack((beat, usual), 1) * polarity, -LIMIT, LIMIT)


def together(beats: list[Beats]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shapes and features of all the beats given."""
    shapes = np.concatenate([b.shapes for b in beats])
    return torch.tensor(shapes), torch.tensor(np.concatenate([b.features for b in beats]))


def train(beats: list[Beats], epochs: int, rare_power: float) -> BeatNet:
    """Train on all the beats given, for a stated number of epochs."""
    torch.manual_seed(SEED)
    shapes, features = together(beats)
    y = np.concatenate([b.labels for b in beats])
    net = BeatNet()
    counts = np.bincount(y, minlength=len(LABELS))
    weight = (counts.sum() / np.maximum(counts, 200)) ** rare_power
    weights = torch.tensor((weight / weight[y].mean())[y], dtype=torch.float32)
    labels = torch.tensor(y)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-3)
    steps = epochs * (len(y) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(reduction="none")
    for epoch in range(epochs):
        total, started = 0.0, time.monotonic()
        for some in torch.randperm(len(y)).split(BATCH):
            logits = net(augment(shapes[some]), features[some])
            loss = (loss_of(logits, labels[some]) * weights[some]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(some)
        took = time.monotonic() - started
        print(
            f"  epoch {epoch + 1:2d}/{epochs}  loss {total / len(y):.4f}  {took:.0f} s", flush=True
        )
    net.eval()
    return net


def probabilities(net: BeatNet, beats: Beats) -> NDArray[np.float32]:
    """Return the float network's probabilities."""
    with torch.no_grad():
        answer: NDArray[np.float32] = Answer(net)(*together([beats])).numpy()
    return answer


def cross_validate(epochs: int, rare_power: float) -> dict[str, Any]:
    """Score each training patient by a network that never saw that patient; lead 0."""
    per_record = []
    for fold in FOLDS:
        net = train(load([r for r in TRAINING if r not in fold], (0, 1)), epochs, rare_power)
        per_record += [score_record(b, probabilities(net, b).argmax(1)) for b in load(fold, (0,))]
    return add_up(per_record).as_dict()


class _Calibration(CalibrationDataReader):
    """Training beats from which the int8 ranges are taken."""

    def __init__(self, training: list[Beats], count: int) -> None:
        some = torch.randperm(
            sum(len(b.labels) for b in training), generator=torch.Generator().manual_seed(SEED)
        )[:count]
        shapes, features = (x[some] for x in together(training))
        batches = zip(torch.split(shapes, 256), torch.split(features, 256), strict=True)
        self._batches = iter([{"shapes": s.numpy(), "features": f.numpy()} for s, f in batches])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def export(net: BeatNet, training: list[Beats], folder: Path) -> tuple[Path, Path]:
    """Write the float and the int8 file; the int8 ranges come from training beats alone."""
    folder.mkdir(parents=True, exist_ok=True)
    floating, quantised = folder / f"{NAME}.float.onnx", folder / f"{NAME}.onnx"
    dynamic = {name: {0: "n"} for name in ("shapes", "features", "probabilities")}
    torch.onnx.export(
        Answer(net), (torch.zeros(1, 2, SHAPE), torch.zeros(1, len(FEATURES))), str(floating),
        input_names=["shapes", "features"], output_names=["probabilities"],
        dynamic_axes=dynamic, opset_version=17, dynamo=False,
    )  # fmt: skip
    prepared = folder / f"{NAME}.prepared.onnx"
    quant_pre_process(str(floating), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(quantised), _Calibration(training, 4096),
        quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=["Conv", "Gemm", "MatMul", "Relu", "Concat", "Flatten", "Reshape"],
    )  # fmt: skip
    prepared.unlink()
    return floating, quantised


def run_file(path: Path, beats: Beats) -> NDArray[np.float32]:
    """Answer with a model file, as the runner would."""
    inputs = {"shapes": beats.shapes, "features": beats.features}
    answer: NDArray[np.float32] = _session(path).run(None, inputs)[0]
    return answer


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def microseconds_per_beat(path: Path, batch: int) -> float:
    """Return the median cost of a beat in batches of the given size, one thread."""
    session = _session(path)
    inputs = {
        "shapes": np.zeros((batch, 2, SHAPE), np.float32),
        "features": np.zeros((batch, len(FEATURES)), np.float32),
    }
    costs = []
    for _ in range(max(30, 3000 // batch)):
        started = time.perf_counter()
        session.run(None, inputs)
        costs.append((time.perf_counter() - started) / batch * 1e6)
    return round(float(np.median(costs)), 2)


def measure(path: Path, test: list[Beats]) -> dict[str, Any]:
    """Score a model file on test patients and time it."""
    scored = [score_record(b, run_file(path, b).argmax(1)) for b in test]
    return {
        "ds2": add_up(scored).as_dict(),
        "bytes": path.stat().st_size,
        "us_per_beat_single": microseconds_per_beat(path, 1),
        "us_per_beat_batch_256": microseconds_per_beat(path, 256),
    }


def write_card(quantised: Path, metrics: dict[str, Any], epochs: int) -> None:
    """Write the card beside the model: contract, data, split, seed, metrics, hash."""
    card = {
        "name": NAME,
        "sha256": hashlib.sha256(quantised.read_bytes()).hexdigest(),
        "labels": LABELS,
        "input": {
            "points": SHAPE, "rate_hz": 125, "features": list(FEATURES),
        },
        "quantisation": "static int8 QDQ, per channel, MinMax over 4096 training beats",
        "training": {
            "database": "mitdb, both leads", "records": TRAINING,
            "epochs": epochs, "rare_power": RARE_POWER, "seed": SEED,
            "command": "make train-beats",
        },
        "test": {"database": "mitdb, lead 0, detected beats, from 5:00", "records": DS2},
        "metrics": metrics,
        "intended_use": "labels beats for rhythm rules in an alerting agent; no diagnosis",
        "failure_modes": [
            "supraventricular beats are often taken for normal: no P-wave evidence is used",
            "fusion beats are rarely recognised as such",
            "aberrant conduction and new bundle branch block can look ventricular",
            "the next beat is not awaited, so a compensatory pause is no evidence",
        ],
    }  # fmt: skip
    text = json.dumps(card, indent=2, ensure_ascii=False)
    quantised.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Train, quantise, measure and write; or cross-validate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cross-validate", action="store_true", help="only measure the design")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--rare-power", type=float, default=RARE_POWER)
    parser.add_argument("--out", type=Path, default=SHIPPED_IN)
    arguments = parser.parse_args()
    if arguments.cross_validate:
        print(json.dumps(cross_validate(arguments.epochs, arguments.rare_power), indent=2))
        return
    training = load(TRAINING, (0, 1))
    net = train(training, arguments.epochs, arguments.rare_power)
    floating, quantised = export(net, training, CACHE)
    test = load(DS2, (0,))
    metrics = {"float": measure(floating, test), "int8": measure(quantised, test)}
    shipped = arguments.out / quantised.name
    shipped.write_bytes(quantised.read_bytes())
    write_card(shipped, metrics, arguments.epochs)
    print(json.dumps(metrics, indent=2))


__all__ = ["BeatNet", "Counts", "cross_validate", "export", "train"]

if __name__ == "__main__":
    main()
