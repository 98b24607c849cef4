"""Measurements behind the pages of the evaluation: `python -m tocsin_agent.lab.studies.NAME`.

They are run in a checkout of the repository, whose records and pages they read and write.
"""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[4]
"""The root of the checkout."""
