"""Fixtures for every test: where the real records are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
# Read before any test changes the environment or the working directory.
_NAMED = os.environ.get("TOCSIN_RECORDS")
RECORDS = Path(_NAMED).resolve() if _NAMED else PROJECT.parent / "shared" / "records"


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of the PhysioNet databases, known to the sources whatever the folder."""
    if not (RECORDS / "mitdb" / "208.hea").is_file():
        reason = f"no PhysioNet records in {RECORDS}: set TOCSIN_RECORDS, or `tocsin fetch mitdb`"
        if os.environ.get("TOCSIN_REQUIRE_RECORDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    monkeypatch.setenv("TOCSIN_RECORDS", str(RECORDS))
    return RECORDS
