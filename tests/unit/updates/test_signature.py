"""Signing models: what `tocsin` signs is accepted, and what cannot be used is not signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.vendors import Vendor, tampered_model
from tocsin_agent.updates.signature import sign
from tocsin_agent.updates.store import verify
from tocsin_models import BEATS
from tocsin_models.errors import ModelError, ModelFault


def test_a_signed_model_is_accepted_and_a_damaged_one_is_not_signed(
    vendor: Vendor, tmp_path: Path
) -> None:
    path = vendor.release(tmp_path / "b")
    path.with_suffix(".sig").unlink()
    sign(path, vendor.private_key)
    assert verify(path, vendor.public_key).contract is BEATS
    tampered_model(path)
    with pytest.raises(ModelError):
        sign(path, vendor.private_key)


def test_a_key_of_another_kind_does_not_sign(vendor: Vendor, tmp_path: Path) -> None:
    path = vendor.release(tmp_path / "b")
    for key in (vendor.public_key, path):
        with pytest.raises(ModelError) as caught:
            sign(path, key)
        assert caught.value.reason is ModelFault.SIGNATURE
