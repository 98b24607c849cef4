"""The one runner: a quantised beat classifier on the CPU, one thread, verified before use."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tocsin_dsp.beats import FEATURES, SHAPE
from tocsin_dsp.errors import ModelError, ModelFault
from tocsin_models.labels import LABELS

BATCH = 256
SHIPPED = "beats"
INPUTS = {"shapes": [2, SHAPE], "features": [len(FEATURES)]}


class BeatModel:
    """Classify beats; a card beside the file says what it expects and how well it does.

    Parameters
    ----------
    path : Path
        The `.onnx` file; its card is the `.json` of the same name.

    Raises
    ------
    ModelError
        If a file is missing, is not the one that the card describes, or has another contract.
    """

    def __init__(self, path: Path) -> None:
        card = _read_card(path.with_suffix(".json"))
        content = _read(path)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name = str(card["name"])
        if self.sha256 != card["sha256"]:
            raise ModelError(
                ModelFault.HASH,
                f"{path.name} has SHA-256 {self.sha256[:16]}…, its card says "
                f"{str(card['sha256'])[:16]}…: install the file and its card together",
            )
        expected = (list(LABELS), SHAPE, list(FEATURES))
        given = (card["labels"], card["input"]["points"], card["input"]["features"])
        if given != expected:
            raise ModelError(
                ModelFault.CONTRACT,
                f"{path.name} was made for {given}, this version gives {expected}: "
                "use a model made for it",
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many kinds, with no common root
            raise ModelError(
                ModelFault.CONTRACT, f"{path.name} cannot be loaded: {error}"
            ) from error
        shapes = {i.name: i.shape[1:] for i in self._session.get_inputs()}
        if shapes != INPUTS:
            raise ModelError(ModelFault.CONTRACT, f"{path.name} takes {shapes}, {INPUTS} expected")
        # warm-up, and proof that it answers
        self.classify(np.zeros((1, 2, SHAPE)), np.zeros((1, len(FEATURES))))

    def classify(self, shapes: NDArray[Any], features: NDArray[Any]) -> NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        shapes : ndarray, shape (n, 2, SHAPE)
        features : ndarray, shape (n, len(FEATURES))
            As `tocsin_dsp.beats.BeatView` gives them.

        Returns
        -------
        ndarray of float32, shape (n, len(LABELS))
            Rows sum to 1.

        Raises
        ------
        ModelError
            If the answer is not finite or not of that shape.
        """
        x = {"shapes": np.asarray(shapes, np.float32), "features": np.asarray(features, np.float32)}
        n = len(x["shapes"])
        parts = []
        for start in range(0, n, BATCH):
            part = {name: values[start : start + BATCH] for name, values in x.items()}
            (answer,) = self._session.run(None, part)
            if answer.shape != (len(part["shapes"]), len(LABELS)) or not np.isfinite(answer).all():
                raise ModelError(ModelFault.OUTPUT, f"{self.name} answered nonsense")
            parts.append(answer)
        return np.concatenate(parts) if parts else np.empty((0, len(LABELS)), np.float32)


def load_beat_model(path: Path | None = None) -> BeatModel:
    """Load a beat model, the shipped one where no path is given; raises `ModelError`."""
    if path is not None:
        return BeatModel(path)
    with resources.as_file(resources.files("tocsin_models")) as folder:
        return BeatModel(folder / f"{SHIPPED}.onnx")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            ModelFault.MISSING,
            f"no model at {path}: {error.strerror}; reinstall tocsin or "
            "point [model] path at an .onnx file with its .json card",
        ) from error


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(_read(path))
        for key in ("name", "sha256", "labels"):
            card[key]
        for key in ("points", "features"):
            card["input"][key]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(ModelFault.CONTRACT, f"{path.name} is no model card: {error}") from error
    return card
