from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tocsin_agent.cli import ExitCode, cli


@pytest.fixture
def counts(tmp_path: Path) -> str:
    t = np.arange(5000) / 250
    x = np.rint(512 + 100 * np.exp(-0.5 * (((t % 0.8) - 0.4) / 0.011) ** 2))
    path = tmp_path / "c.csv"
    path.write_text("time,ECG,label\n" + "".join(f"{a},{b},0\n" for a, b in zip(t, x, strict=True)))
    return str(path)


def test_a_table_is_shown_with_its_leads_and_what_looks_wrong(counts: str) -> None:
    result = CliRunner().invoke(cli, ["inspect", counts])
    assert result.exit_code == 0, result.output
    for part in ("250 Hz", "ECG", "label", "implausible_signal", "counts"):
        assert part in result.output


def test_the_advice_is_right_when_it_is_followed(counts: str) -> None:
    arguments = ["inspect", counts, "--unit", "counts", "--gain", "100", "--baseline", "512"]
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    shown = json.loads(result.output)
    assert shown["suspicions"] == []
    assert shown["leads"][0]["height_mv"] == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize("uri", ["excerpt", "synthetic:demo"])
def test_other_sources_are_inspected_too(uri: str) -> None:
    shown = json.loads(CliRunner().invoke(cli, ["inspect", uri, "--json"]).output)
    assert shown["schema"] == "tocsin/inspect/v1"
    assert shown["seconds_read"] == 10
    assert shown["suspicions"] == []


@pytest.mark.parametrize("as_json", [False, True])
def test_signals_that_are_not_used_are_shown_with_the_reason(as_json: bool, tmp_path: Path) -> None:
    t = np.arange(5000) / 250
    ecg = np.exp(-0.5 * (((t % 0.8) - 0.4) / 0.011) ** 2)
    rows = "".join(f"{a:.3f},{b:.4f},70,{b:.4f}\n" for a, b in zip(t, ecg, strict=True))
    path = tmp_path / "a.csv"
    path.write_text(f"time,II (mV),HR,wrist_ppg\n{rows}")
    result = CliRunner().invoke(cli, ["inspect", str(path), *(["--json"] if as_json else [])])
    assert result.exit_code == 0, result.output
    if not as_json:
        assert "length 0:00:20" in result.output
        assert "not used: HR: named as another signal" in result.output
        return
    shown = json.loads(result.output)
    assert shown["seconds"] == pytest.approx(20, abs=0.01)
    assert {s["name"]: (s["used"], s["reason"]) for s in shown["signals"]} == {
        "time": (False, "the time of each row"),
        "II": (True, None),
        "HR": (False, "named as another signal"),
        "wrist_ppg": (False, "named as another signal"),
    }


def test_what_cannot_be_read_is_an_error_of_the_source(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(tmp_path / "none.csv")])
    assert result.exit_code == ExitCode.SOURCE
