"""Run quantised classifiers on the CPU in one thread, verified before use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from math import isfinite
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tocsin_dsp.beats import beats
from tocsin_dsp.rhythms import evidence, fibrillation, irregularity
from tocsin_models.engine import ort
from tocsin_models.errors import ModelError, ModelFault
from tocsin_models.labels import AF_LABELS, ALARM_LABELS, LABELS, VF_LABELS
from tocsin_models.onnx_file import opset

BATCH = 256  # greatest number of inputs in one run
_PROBES = 16  # inputs of `check_answers`
OPSETS = range(13, 22)
"""Operator sets of ONNX that are accepted: 13 is the first to quantise weights by channel, 21 the
last that the oldest onnxruntime allowed here (1.20) supports."""


class Contract(NamedTuple):
    """The inputs and outputs of a model; its card must state the same.

    `inputs` names the inputs in the order of `Model.classify`, each with its shape for one beat or
    window; `points` and `features` are those of the card. `exclusive` is True where one label is
    true at a time, so that the probabilities have a sum of 1.
    """

    name: str
    labels: tuple[str, ...]
    points: int
    features: tuple[str, ...]
    inputs: dict[str, list[int]]
    exclusive: bool = True


BEATS = Contract(
    "beats",
    LABELS,
    beats.SHAPE,
    tuple(beats.FEATURES),
    {"shapes": [2, beats.SHAPE], "features": [len(beats.FEATURES)]},
)
VF = Contract(
    "vf",
    VF_LABELS,
    fibrillation.POINTS,
    tuple(fibrillation.FEATURES),
    {"shapes": [1, fibrillation.POINTS], "features": [len(fibrillation.FEATURES)]},
)
AF = Contract(
    "af",
    AF_LABELS,
    0,
    tuple(irregularity.FEATURES),
    {"features": [len(irregularity.FEATURES)]},
)
ALARMS = Contract(
    "alarms",
    ALARM_LABELS,
    0,
    evidence.FEATURES,
    {"features": [len(evidence.FEATURES)]},
    exclusive=False,
)
CONTRACTS = {contract.name: contract for contract in (BEATS, VF, AF, ALARMS)}
"""The contracts of all models, by name."""


class Model:
    """A classifier; the card beside the file states its inputs and its accuracy.

    Parameters
    ----------
    path : Path
        The `.onnx` file; its card is the `.json` of the same name.
    contract : Contract
    content, card : bytes, optional
        What the two files hold, where they have been read and verified already: a file may be
        changed between two reads.

    Attributes
    ----------
    fallback : Model or None
        The model to use where this one fails.
    release : int
        The vendor's release number, by which an older model is recognised; 0 where it has none.

    Raises
    ------
    ModelError
        If a file is missing, is not the one that the card describes, or has another contract.
    """

    fallback: Model | None = None

    def __init__(
        self,
        path: Path,
        contract: Contract,
        *,
        content: bytes | None = None,
        card: bytes | None = None,
    ) -> None:
        stated = path.with_suffix(".json")
        card_of = _decode_card(stated, _read(stated) if card is None else card)
        content = _read(path) if content is None else content
        self.contract = contract
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name, self.release = str(card_of["name"]), card_of["release"]
        if self.sha256 != card_of["sha256"]:
            raise ModelError(
                ModelFault.HASH,
                f"{path.name} has SHA-256 {self.sha256[:16]}…, its card says "
                f"{str(card_of['sha256'])[:16]}…: install the file and its card together",
            )
        expected = (list(contract.labels), contract.points, list(contract.features))
        given = (card_of["labels"], card_of["input"]["points"], card_of["input"]["features"])
        if given != expected:
            raise ModelError(
                ModelFault.CONTRACT,
                f"{path.name} was made for {given}, this version gives {expected}: "
                "use a model made for it",
            )
        _check_opset(path.name, content, card_of["opset"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # 3 MB less, at the same speed
        try:
            self._session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises many kinds, with no common root
            raise ModelError(
                ModelFault.CONTRACT, f"{path.name} cannot be loaded: {error}"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        shapes = {i.name: i.shape[1:] for i in self._session.get_inputs()}
        if shapes != contract.inputs:
            raise ModelError(
                ModelFault.CONTRACT, f"{path.name} takes {shapes}, {contract.inputs} expected"
            )
        # A first run warms up, and fails here if the model cannot run.
        self.classify(*(np.zeros((1, *shape)) for shape in contract.inputs.values()))

    @property
    def id(self) -> str:
        """`name@hash`, the form in alerts."""
        return f"{self.name}@{self.sha256[:12]}"

    def classify(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        *inputs : ndarray, shape (n, ...)
            In the order of the contract's inputs, each with n of its shape.

        Returns
        -------
        ndarray of float32, shape (n, labels)

        Raises
        ------
        ModelError
            If the output is not finite or not of that shape.
        """
        x = {
            name: np.asarray(values, np.float32)
            for name, values in zip(self.contract.inputs, inputs, strict=True)
        }
        n = len(inputs[0])
        if 0 < n <= BATCH:
            return self._run(x, n)
        parts = [
            self._run({name: v[i : i + BATCH] for name, v in x.items()}, min(BATCH, n - i))
            for i in range(0, n, BATCH)
        ]
        width = len(self.contract.labels)
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    def _run(self, x: dict[str, NDArray[np.float32]], n: int) -> NDArray[np.float32]:
        """Return the answers to n inputs, verified."""
        answer: NDArray[np.float32] = self._session.run(self._outputs, x)[0]
        valid = answer.shape == (n, len(self.contract.labels))
        if not valid or not isfinite(float(np.add.reduce(answer, axis=None))):
            raise ModelError(ModelFault.OUTPUT, f"{self.name} gave an invalid output")
        return answer


class Models(NamedTuple):
    """The models of an agent; None for one that is missing or was refused."""

    beats: Model | None = None
    vf: Model | None = None
    af: Model | None = None
    alarms: Model | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the loaded models, by name."""
        return {model.name: model.sha256 for model in self if model is not None}


def load_model(contract: Contract, path: Path | None = None) -> Model:
    """Load a model, the shipped one where no path is given; raises `ModelError`."""
    if path is not None:
        return Model(path, contract)
    return Model(Path(__file__).parent / f"{contract.name}.onnx", contract)


def load_models(
    beats_path: Path | None = None, refused: Callable[[ModelError], None] | None = None
) -> Models:
    """Load all models.

    Parameters
    ----------
    beats_path : Path, optional
        The beat model; the shipped one by default.
    refused : callable, optional
        Called for each model that cannot be used, which is then None.

    Raises
    ------
    ModelError
        At the first model that cannot be used, if `refused` is not given.
    """
    loaded: list[Model | None] = []
    for contract, path in ((BEATS, beats_path), (VF, None), (AF, None), (ALARMS, None)):
        try:
            loaded.append(load_model(contract, path))
        except ModelError as error:
            if refused is None:
                raise
            refused(error)
            loaded.append(None)
    return Models(*loaded)


def check_answers(model: Model) -> None:
    """Check a model on inputs whose answers have known properties: random, zero and extreme ones.

    Parameters
    ----------
    model : Model

    Raises
    ------
    ModelError
        `OUTPUT`, if a batch is answered differently from its members one by one, or if the answers
        are no probabilities: outside 0 to 1, or of several labels with a sum other than 1.
    """
    draws = np.random.default_rng(4)
    shapes = model.contract.inputs.values()
    inputs = [draws.normal(0.0, 1.0, (_PROBES, *shape)) for shape in shapes]
    for values in inputs:
        values[-2:] = np.array((0.0, 4.0)).reshape(2, *[1] * (values.ndim - 1))
    together = model.classify(*inputs)
    singly = [model.classify(*(x[i : i + 1] for x in inputs)) for i in range(_PROBES)]
    if not (together == np.concatenate(singly)).all():
        raise ModelError(
            ModelFault.OUTPUT, f"{model.name} answers a batch differently from its members"
        )
    sums = together.sum(axis=1)
    several = model.contract.exclusive and len(model.contract.labels) > 1
    if (together < 0).any() or (together > 1).any() or (several and abs(sums - 1).max() > 0.01):
        raise ModelError(ModelFault.OUTPUT, f"{model.name} gives answers that are no probabilities")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            ModelFault.MISSING,
            f"no model at {path}: {error.strerror}; reinstall tocsin or "
            "point [model] path at an .onnx file with its .json card",
        ) from error


def _check_opset(name: str, content: bytes, stated: object) -> None:
    try:
        found = opset(content)
    except ValueError as error:
        raise ModelError(ModelFault.CONTRACT, f"{name} is no ONNX file: {error}") from error
    if found != stated or found not in OPSETS:
        raise ModelError(
            ModelFault.CONTRACT,
            f"{name} was written against operator set {found} and its card says {stated}: "
            f"export it against one of {OPSETS[0]} to {OPSETS[-1]}, and state it",
        )


def _decode_card(path: Path, content: bytes) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(content)
        for key in ("name", "sha256", "labels", "opset"):
            card[key]
        for key in ("points", "features"):
            card["input"][key]
        card["release"] = index(card.get("release", 0))
    except KeyError as error:
        raise ModelError(ModelFault.CONTRACT, f"the card {path.name} lacks {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(ModelFault.CONTRACT, f"{path.name} is no model card: {error}") from error
    return card
