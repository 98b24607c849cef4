"""The classes of the models."""

from __future__ import annotations

LABELS = ("N", "S", "V", "F", "Q")
"""The beat classes of ANSI/AAMI EC57: normal (with bundle branch block and escape),
supraventricular, ventricular, fusion, unknown."""

VF_LABELS = ("VF",)
"""Ventricular fibrillation or flutter, against everything else."""
AF_LABELS = ("AF",)
"""Atrial fibrillation, against everything else."""
ALARM_LABELS = ("VT", "VF")
"""Whether a ventricular tachycardia, and whether ventricular fibrillation or flutter, is true: two
answers that do not exclude each other."""
