"""The beat classes of ANSI/AAMI EC57."""

from __future__ import annotations

LABELS = ("N", "S", "V", "F", "Q")
"""Normal (with bundle branch block and escape), supraventricular, ventricular, fusion, unknown."""
