"""The monitor in growing noise: records, commands and the page that they write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import wfdb

from support.patients import write_record
from tocsin_agent.cli import cli
from tocsin_agent.lab.evaluate import select
from tocsin_agent.lab.evaluate.stress import stress, stressed
from tocsin_models import load_models

SECONDS = 430.0  # five minutes clean, two noisy, and some clean again
RATIOS = (24.0, -12.0)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of databases: one patient, and noise strong enough to cause errors."""
    folder = tmp_path_factory.mktemp("records")
    write_record(folder / "db", "calm", SECONDS)
    (folder / "noises").mkdir()
    hum = np.random.default_rng(7).normal(0.0, 0.3, (360 * 120, 2)).cumsum(axis=0)
    wfdb.wrsamp(
        "hum", fs=360, units=["mV"] * 2, sig_name=["a", "b"], p_signal=np.sin(hum),
        fmt=["16"] * 2, write_dir=str(folder / "noises"),
    )  # fmt: skip
    return folder


def test_noisy_and_clean_intervals_sum_to_all(database: Path) -> None:
    for result in stress(
        str(database / "db" / "calm"),
        str(database / "noises" / "hum"),
        RATIOS,
        models=load_models(),
    ):
        both = result.noisy.matrix + result.clean.matrix
        assert (both == result.comparison.matrix).all()
        assert result.noisy.qrs.tp > result.clean.qrs.tp > 0


def test_noise_costs_beats_and_every_ratio_is_reported(database: Path) -> None:
    rows = stressed(select("db", database), str(database / "noises" / "hum"), RATIOS, jobs=1)
    assert [row["snr_db"] for row in rows] == list(RATIOS)
    assert {tuple(row["records"]) for row in rows} == {("calm",)}
    wrong = [row["qrs"]["fn"] + row["qrs"]["fp"] for row in rows]
    assert wrong[0] < wrong[1]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    assert isinstance(left.value.code, int)
    return left.value.code


def test_evaluate_draws_the_curves_into_its_report(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = str(database / "noises" / "hum")
    code = run(
        "evaluate", "db", "--records", str(database), "--jobs", "1", "--noise", noise,
        "--snr", "24,-12", "--report", str(tmp_path), "--json", "-",
    )  # fmt: skip
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["snr_db"] for row in result["snr"]] == list(RATIOS)
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "In noise" in page
    assert "QRS over signal-to-noise ratio: -12 dB" in page
    assert "Time to a label: " in page


def test_noise_stress_writes_a_page_of_its_own(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        "noise-stress", str(database / "db" / "calm"), "--noise",
        str(database / "noises" / "hum"), "--snr", "24,-12", "--report", str(tmp_path),
    )  # fmt: skip
    assert code == 0
    assert "report: " in capsys.readouterr().err
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "QRS over signal-to-noise ratio: -12 dB" in page
    assert "Alarms</h2>" not in page
    assert "There are no beat labels" not in page
