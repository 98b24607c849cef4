"""Quantised models and the one runner."""

from tocsin_models.labels import LABELS
from tocsin_models.runner import BeatModel, load_beat_model

__all__ = ["LABELS", "BeatModel", "load_beat_model"]
