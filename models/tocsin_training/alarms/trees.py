"""Ensembles of trees as one ONNX file: one target a label, the sum over its trees.

`TreeEnsembleRegressor` of ai.onnx.ml 3 is in every onnxruntime that is allowed here. A leaf holds
its share of true examples over the number of trees, so that the sum is a probability.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.ensemble import ExtraTreesClassifier

OPSET, TREE_OPSET, IR_VERSION = 17, 3, 8
_NODES = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
_TARGETS = ("treeids", "nodeids", "ids", "weights")


def write_trees(
    path: Path, labels: Sequence[tuple[ExtraTreesClassifier, list[int]]], features: int
) -> Path:
    """Write a file; each label has its trees and the input column of each of their features."""
    nodes: dict[str, list[Any]] = {f"nodes_{name}": [] for name in _NODES}
    targets: dict[str, list[Any]] = {f"target_{name}": [] for name in _TARGETS}
    number = 0
    for label, (forest, columns) in enumerate(labels):
        for estimator in forest.estimators_:
            _add(estimator.tree_, number, label, columns, len(forest.estimators_), nodes, targets)
            number += 1
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=len(labels),
        aggregate_function="SUM",
        post_transform="NONE",
        **nodes,
        **targets,
    )
    clip = helper.make_node("Clip", ["sum", "zero", "one"], ["probabilities"])
    graph = helper.make_graph(
        [ensemble, clip],
        "alarms",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(labels)])],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    sets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREE_OPSET)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _add(  # noqa: PLR0917 - one row of each table
    tree: Any,  # noqa: ANN401 - scikit-learn's tree has no type
    number: int,
    label: int,
    columns: list[int],
    trees: int,
    nodes: dict[str, list[Any]],
    targets: dict[str, list[Any]],
) -> None:
    """Append the nodes of a tree; the share of its leaf is its answer."""
    for i in range(tree.node_count):
        leaf = tree.children_left[i] < 0
        row = (
            number,
            i,
            0 if leaf else columns[int(tree.feature[i])],
            0.0 if leaf else _not_above(float(tree.threshold[i])),
            "LEAF" if leaf else "BRANCH_LEQ",
            0 if leaf else int(tree.children_left[i]),
            0 if leaf else int(tree.children_right[i]),
        )
        for name, value in zip(_NODES, row, strict=True):
            nodes[f"nodes_{name}"].append(value)
        if leaf:
            share = tree.value[i][0]
            weight = float(share[1] / share.sum() / trees)
            for name, value in zip(_TARGETS, (number, i, label, weight), strict=True):
                targets[f"target_{name}"].append(value)


def _not_above(threshold: float) -> float:
    """Return the greatest float32 not above a threshold: a float32 compares alike with both."""
    value = np.float32(threshold)
    return float(np.nextafter(value, np.float32(-np.inf)) if float(value) > threshold else value)


def answers(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a file answers."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"features": x})
    return np.asarray(given, np.float32)


def cost(path: Path, features: int) -> dict[str, float]:
    """Return size and time of one answer, alone and in a batch: the tenth percentile."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: dict[str, float] = {"bytes": path.stat().st_size}
    for name, batch in (("us_single", 1), ("us_batch_256", 256)):
        x, costs = np.zeros((batch, features), np.float32), []
        for _ in range(500):
            started = time.perf_counter()
            session.run(None, {"features": x})
            costs.append((time.perf_counter() - started) / batch * 1e6)
        found[name] = round(float(np.percentile(costs, 10)), 2)
    return found
