"""The public face of the monitor, and what loading a part of it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tocsin_agent.monitor as face


def test_the_public_names_are_these() -> None:
    assert face.__all__ == [
        "ALARMS",
        "Alarm",
        "AlertEvent",
        "LabelledBeat",
        "Limits",
        "PatientMonitor",
        "Report",
    ]
    assert all(getattr(face, name) for name in face.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="Rhythm"):
        _ = face.Rhythm


def test_limits_and_alarms_load_no_model_runtime() -> None:
    code = (
        "import sys; from tocsin_agent.monitor import ALARMS, Limits; "
        "print({'onnxruntime', 'numpy'} & sys.modules.keys())"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "onnxruntime" not in loaded.stdout
