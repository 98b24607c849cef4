"""What the documentation says is what was recorded."""

from __future__ import annotations

import json

from accuracy.record import PUBLISHED, RECORDED, published


def test_the_tables_are_those_that_were_recorded() -> None:
    page = PUBLISHED.read_text(encoding="utf-8")
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert published(page, recorded) == page, "`make accuracy` writes them anew"
    assert "| QRS, mitdb, 48 records |" in page
    assert "| `asystole` |" in page
