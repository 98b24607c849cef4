"""The pages of the evaluation state the recorded figures."""

from __future__ import annotations

import json

from tocsin_agent.lab.studies.record import PUBLISHED, RECORDED, published


def test_the_tables_are_those_that_were_recorded() -> None:
    pages = published(json.loads(RECORDED.read_text(encoding="utf-8")))
    for path, page in pages.items():
        assert path.read_text(encoding="utf-8") == page, "`make accuracy` rewrites it"
    assert "| QRS, mitdb, 48 records |" in pages[PUBLISHED / "beats.md"]
    assert "| `asystole` |" in pages[PUBLISHED / "alarms.md"]


def test_the_summary_repeats_the_recorded_figures() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    mitdb, svdb = recorded["mitdb"], recorded["svdb"]
    summary = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    for score in (mitdb["qrs"], svdb["qrs"], mitdb["ds2"]["veb"], mitdb["ds2"]["sveb"]):
        assert f"| {score['se']:.2f} / {score['ppv']:.2f} |" in summary
    high = (
        "asystole",
        "extreme_bradycardia",
        "extreme_tachycardia",
        "ventricular_fibrillation",
        "ventricular_tachycardia",
    )
    counts = (str(sum(mitdb["alarms"][c][k] for c in high)) for k in ("true", "false", "missed"))
    assert f"| {' / '.join(counts)} |" in summary
