"""Fixtures for every test: where the real records are.

Records are found as the agent finds them: in the folders of `TOCSIN_RECORDS`, else in the cache of
`tocsin fetch`. A test that needs them takes the fixture `records`, or has the marker of that name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tocsin_agent.sources.files.record_folders import record_roots
from tocsin_models import Models, load_models

# Without a time limit for one example: on a busy machine a slow example is not a failure.
settings.register_profile("tocsin", deadline=None)
settings.load_profile("tocsin")

# Read before any test changes the environment or the working directory.
_ROOTS = tuple(root.resolve() for root in record_roots())
_EC57 = os.environ.get("TOCSIN_EC57")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep marker and fixture together, so that `-m "not records"` leaves out what needs them."""
    for item in items:
        names = getattr(item, "fixturenames", [])
        if "records" in names:
            item.add_marker(pytest.mark.records)
        elif item.get_closest_marker("records"):
            names.insert(0, "records")


@pytest.fixture(scope="session")
def models() -> Models:
    """Return the shipped models, loaded once."""
    return load_models()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the PhysioNet databases; the sources find it from anywhere."""
    for root in _ROOTS:
        if (root / "mitdb" / "208.hea").is_file():
            monkeypatch.setenv("TOCSIN_RECORDS", str(root))
            return root
    looked = ", ".join(str(root) for root in _ROOTS)
    return _missing(f"no PhysioNet records in {looked}: set TOCSIN_RECORDS, or tocsin fetch mitdb")


@pytest.fixture
def ec57(records: Path) -> Path:  # noqa: ARG001 - its references are annotations of the records
    """Return the folder of test annotations and of what the reference programs print for them."""
    if _EC57 is not None and (Path(_EC57) / "expected").is_dir():
        return Path(_EC57).resolve()
    return _missing("no EC57 reference comparisons: set TOCSIN_EC57 to their folder")


@pytest.fixture(autouse=True)
def _no_state_of_this_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Have receivers keep what they have shown in a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state", numbered=True)))


def _missing(reason: str) -> Path:
    if os.environ.get("TOCSIN_REQUIRE_RECORDS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
