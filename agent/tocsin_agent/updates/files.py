"""The files of a model: their names, and reading and writing them.

A model is `NAME.onnx`, its card `NAME.json`, and `NAME.sig`, the signature of the card; NAME says
what the model is for: `beats`, `vf`, `af` or `alarms`.
"""

from __future__ import annotations

from pathlib import Path

from tocsin_agent.regular_file import read_regular
from tocsin_models import CONTRACTS, Contract
from tocsin_models.errors import ModelError, ModelFault

SUFFIXES = (".onnx", ".json", ".sig")
_MOST_BYTES = {".onnx": 64 * 1024 * 1024, ".json": 1024 * 1024}
_MOST_BYTES_ELSE = 64 * 1024  # of a signature, a key or a state


def contract_of(path: Path) -> Contract:
    """Return the contract that a model file must fulfil, by its name.

    Raises
    ------
    ModelError
        `CONTRACT`, if the file is not named after one of the models.
    """
    contract = CONTRACTS.get(path.stem)
    if contract is None or path.suffix != ".onnx":
        known = " or ".join(f"{name}.onnx" for name in CONTRACTS)
        raise ModelError(ModelFault.CONTRACT, f"{path}: a model file must be named {known}")
    return contract


def read_file(path: Path) -> bytes:
    """Return the content of a file, read once: a regular file of limited size.

    Raises
    ------
    ModelError
        `MISSING`, if it cannot be read.
    """
    try:
        return read_regular(path, _MOST_BYTES.get(path.suffix, _MOST_BYTES_ELSE))
    except OSError as error:
        raise ModelError(ModelFault.MISSING, f"cannot read {path}: {error.strerror}") from error


def read_model(path: Path) -> dict[str, bytes]:
    """Return the three files of a model by suffix; raises as `read_file`."""
    return {suffix: read_file(path.with_suffix(suffix)) for suffix in SUFFIXES}


def unwritable(path: Path, error: OSError) -> ModelError:
    """Return the error for a file or folder that cannot be written."""
    return ModelError(
        ModelFault.UNWRITABLE, f"{path} cannot be written ({error.strerror}): nothing has changed"
    )
