"""Quantised models and the one class that runs them.

Names are imported on first use, so that `tocsin_models.errors` does not load onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin_models.labels import AF_LABELS, ALARM_LABELS, LABELS, VF_LABELS
    from tocsin_models.runner import (
        AF,
        ALARMS,
        BEATS,
        CONTRACTS,
        VF,
        Contract,
        Model,
        Models,
        check_answers,
        load_model,
        load_models,
    )

__all__ = [
    "AF",
    "AF_LABELS",
    "ALARMS",
    "ALARM_LABELS",
    "BEATS",
    "CONTRACTS",
    "LABELS",
    "VF",
    "VF_LABELS",
    "Contract",
    "Model",
    "Models",
    "check_answers",
    "load_model",
    "load_models",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tocsin_models import labels, runner  # noqa: PLC0415 - see above

    return getattr(labels if hasattr(labels, name) else runner, name)
