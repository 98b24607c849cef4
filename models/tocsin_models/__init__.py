"""Quantised models and the one runner."""

from tocsin_models.labels import AF_LABELS, LABELS, VF_LABELS
from tocsin_models.runner import AF, BEATS, VF, Model, Models, load_model, load_models

__all__ = [
    "AF",
    "AF_LABELS",
    "BEATS",
    "LABELS",
    "VF",
    "VF_LABELS",
    "Model",
    "Models",
    "load_model",
    "load_models",
]
