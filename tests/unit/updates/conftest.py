"""A vendor, and the store of a device that accepts this vendor's models."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.vendors import Vendor
from tocsin_agent.updates.store import ModelStore


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


@pytest.fixture
def store(tmp_path: Path, vendor: Vendor) -> ModelStore:
    return ModelStore(tmp_path / "models", vendor.public_key)
