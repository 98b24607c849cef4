"""Export of a trained network to a float and an int8 file, and their cost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from tocsin_models.onnx_file import opset

SHIPPED_IN = Path(__file__).parent.parent / "tocsin_models"
OUTPUT = "probabilities"
OPSET = 17
Inputs = Mapping[str, NDArray[np.float32]]


class _Calibration(CalibrationDataReader):
    """Training inputs from which the int8 ranges are computed."""

    def __init__(self, inputs: Inputs) -> None:
        count = len(next(iter(inputs.values())))
        batches = [slice(i, i + 256) for i in range(0, count, 256)]
        self._batches = iter([{k: v[b] for k, v in inputs.items()} for b in batches])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def export(
    answer: nn.Module,
    name: str,
    calibration: Inputs,
    folder: Path,
    *,
    percentile: float | None = None,
    in_float: tuple[str, ...] = (),
    narrow: bool = False,
) -> tuple[Path, Path]:
    """Write the float and the int8 file; the int8 ranges come from the training inputs given.

    Parameters
    ----------
    answer : torch.nn.Module
    name : str
    calibration : mapping of str to ndarray
        Inputs by name.
    folder : Path
    percentile : float, optional
        Percentile of the values that the ranges cover; all by default.
    in_float : tuple of str
        Nodes whose name contains one of these stay in float.
    narrow : bool
        Weights of seven bits instead of eight: sums of two products then cannot overflow, as they
        may on an x86 processor without VNNI (`tocsin_agent.lab.studies.processors`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    floating, quantised = folder / f"{name}.float.onnx", folder / f"{name}.onnx"
    one = tuple(torch.tensor(v[:1]) for v in calibration.values())
    names = list(calibration)
    torch.onnx.export(
        answer.eval(), one, str(floating), input_names=names, output_names=[OUTPUT],
        dynamic_axes={k: {0: "n"} for k in (*names, OUTPUT)}, opset_version=OPSET, dynamo=False,
    )  # fmt: skip
    quantise(floating, quantised, calibration, percentile, in_float, narrow=narrow)
    return floating, quantised


def quantise(
    floating: Path,
    quantised: Path,
    calibration: Inputs,
    percentile: float | None,
    in_float: tuple[str, ...],
    *,
    narrow: bool,
) -> None:
    """Write the int8 file of a float file; parameters as in `export`."""
    prepared = floating.with_suffix(".prepared.onnx")
    quant_pre_process(str(floating), str(prepared), skip_symbolic_shape=True)
    nodes = [node.name for node in onnx.load(str(prepared)).graph.node]
    kept = [node for node in nodes if any(part in node for part in in_float)]
    method = CalibrationMethod.MinMax if percentile is None else CalibrationMethod.Percentile
    quantize_static(
        str(prepared), str(quantised), _Calibration(calibration),
        quant_format=QuantFormat.QDQ, calibrate_method=method, nodes_to_exclude=kept,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=narrow,
        op_types_to_quantize=[
            "Conv", "Gemm", "MatMul", "Relu", "Concat", "Flatten", "Reshape", "AveragePool",
            "MaxPool",
        ],
        extra_options={} if percentile is None else {"CalibPercentile": percentile},
    )  # fmt: skip
    prepared.unlink()


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_file(path: Path, inputs: Inputs, batch: int = 1024) -> NDArray[np.float32]:
    """Return the answers of a model file, rounded as the agent rounds them."""
    session = _session(path)
    count = len(next(iter(inputs.values())))
    parts = [
        session.run(None, {k: v[i : i + batch] for k, v in inputs.items()})[0]
        for i in range(0, count, batch)
    ]
    return np.round(np.concatenate(parts), 3) if parts else np.empty((0, 1), np.float32)


def microseconds(paths: Sequence[Path], inputs: Inputs, batch: int) -> list[float]:
    """Return the time of one answer of each file in batches of the given size, one thread.

    The files take turns, since the speed of a shared machine changes within seconds.
    """
    sessions = [_session(path) for path in paths]
    part = {k: np.resize(v, (batch, *v.shape[1:])) for k, v in inputs.items()}
    costs = []
    for _ in range(max(200, 20000 // batch)):
        for session in sessions:
            started = time.perf_counter()
            session.run(None, part)
            costs.append((time.perf_counter() - started) / batch * 1e6)
    by_file = np.array(costs).reshape(-1, len(sessions))
    return [round(float(low), 2) for low in np.percentile(by_file, 10, axis=0)]


def cost(paths: Sequence[Path], inputs: Inputs) -> list[dict[str, float]]:
    """Return size and time per answer of model files, measured in turns."""
    single, batch = (microseconds(paths, inputs, n) for n in (1, 256))
    return [
        {"bytes": path.stat().st_size, "us_single": one, "us_batch_256": of_256}
        for path, one, of_256 in zip(paths, single, batch, strict=True)
    ]


def write_card(quantised: Path, card: dict[str, Any]) -> None:
    """Write the card beside the model, with the file's hash and operator set."""
    content = quantised.read_bytes()
    card = {
        "name": quantised.stem,
        "sha256": hashlib.sha256(content).hexdigest(),
        "opset": opset(content),
        **card,
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    quantised.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
