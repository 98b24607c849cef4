"""Quantised models and the one runner."""

from tocsin_models.labels import LABELS, VF_LABELS
from tocsin_models.runner import BEATS, VF, Model, Models, load_model, load_models

__all__ = [
    "BEATS",
    "LABELS",
    "VF",
    "VF_LABELS",
    "Model",
    "Models",
    "load_model",
    "load_models",
]
