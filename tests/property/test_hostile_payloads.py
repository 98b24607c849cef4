"""Hostile inbound payloads: a small part of `support/hostile_payloads.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.hostile_payloads import campaign


@pytest.mark.parametrize("seed", [101, 102])
def test_hostile_payloads_raise_nothing_and_change_nothing(tmp_path: Path, seed: int) -> None:
    counts = campaign(seed, 3000, tmp_path)
    assert counts["messages"] == 3000
    assert counts["believed by a receiver without keys"] > 20, "some reach what is behind"
    assert counts["changes at a device without keys"] > 20
    assert (counts["errors"], counts["changed"]) == (0, 0)
