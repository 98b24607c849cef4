"""Fixtures for every test: where the real records are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
# Read before any test changes the environment or the working directory.
_NAMED = os.environ.get("TOCSIN_RECORDS")
RECORDS = Path(_NAMED).resolve() if _NAMED else PROJECT.parent / "shared" / "records"

_NAMED_EC57 = os.environ.get("TOCSIN_EC57")
EC57 = Path(_NAMED_EC57).resolve() if _NAMED_EC57 else PROJECT.parent / "shared" / "ec57"


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


@pytest.fixture
def ec57(records: Path) -> Path:  # noqa: ARG001 - its references are annotations of the records
    """Give the folder of test annotations and what the reference programs print for them."""
    if not (EC57 / "expected").is_dir():
        reason = f"no EC57 reference comparisons in {EC57}: set TOCSIN_EC57"
        if os.environ.get("TOCSIN_REQUIRE_RECORDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return EC57
