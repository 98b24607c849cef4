"""The agent over a database: what is chosen, how alarms are paired, what is added up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.patients import write_record
from tocsin_agent import __version__
from tocsin_agent.cli import cli
from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.lab.evaluate import evaluate, select
from tocsin_agent.lab.evaluate.alarm_scoring import LEARNING_S, AlarmCount
from tocsin_agent.lab.evaluate.challenge import challenge_score
from tocsin_agent.lab.evaluate.evaluation import _alarms
from tocsin_agent.lab.evaluate.judge import Judgement
from tocsin_agent.lab.patients import DS1, DS2, PACED


def judgement(record: str, *raised: tuple[str, float, float]) -> Judgement:
    return Judgement(record, 360.0, 0.1, None, False, None, None, {}, (), raised)


def test_missing_records_are_named(tmp_path: Path) -> None:
    (tmp_path / "mitdb").mkdir()
    for name in ("100", "101"):
        (tmp_path / "mitdb" / f"{name}.hea").touch()
    selection = select("mitdb", tmp_path)
    assert selection.records == ("100", "101")
    assert len(selection.missing) == 46


def test_a_list_in_the_folder_states_the_records(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "RECORDS").write_text("a\nb\n")
    (tmp_path / "mine" / "a.hea").touch()
    selection = select(str(tmp_path / "mine"))
    assert (selection.database, selection.records, selection.missing) == ("mine", ("a",), ("b",))


def test_a_subset_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    for name in "abc":
        (tmp_path / "db" / f"{name}.hea").touch()
    (tmp_path / "two").write_text("a c\n")
    assert select("db", tmp_path, str(tmp_path / "two")).records == ("a", "c")


@pytest.mark.parametrize("database", ["nowhere", "empty"])
def test_a_database_without_records_is_an_error(tmp_path: Path, database: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError) as caught:
        select(database, tmp_path)
    assert caught.value.reason is SourceFault.NOT_FOUND


def test_the_splits_are_those_of_the_paper() -> None:
    ds1, ds2 = set(DS1), set(DS2)
    assert (len(ds1), len(ds2)) == (22, 22)
    assert not ds1 & ds2
    assert not {f"mitdb/{r}" for r in ds1 | ds2} & PACED


def test_a_suppressed_true_alarm_weighs_five_times(tmp_path: Path) -> None:
    (tmp_path / "ALARMS").write_text(
        "a1,Asystole,1\na2,Asystole,1\na3,Asystole,0\nv1,Ventricular_Tachycardia,0\nx,Asystole,1\n"
    )
    judged = [
        judgement("a1", ("asystole", 294.0, 310.0)),
        judgement("a2", ("asystole", 200.0, 289.0)),
        judgement("a3", ("asystole", 299.0, 305.0)),
        judgement("v1"),
    ]
    score = challenge_score(tmp_path, judged)
    assert score is not None
    assert {k: score[k] for k in ("tp", "fn", "fp", "tn")} == {"tp": 1, "fn": 1, "fp": 1, "tn": 1}
    assert score["score"] == pytest.approx(2 / 8)
    assert score["raised_before"] == {"hours": 0.322, "by_code": {"asystole": 1}}


def test_false_alarms_count_over_the_hours_in_which_they_are_judged() -> None:
    able = judgement("a")._replace(
        hours=2 + LEARNING_S / 3600, alarms={"pause": AlarmCount(2, 1, 3, (0.4, 0.6))}
    )
    assert _alarms([able, judgement("rhythm alone")._replace(hours=99.0)]) == {
        "pause": {
            "true": 2, "false": 1, "missed": 3, "false_per_24h": 12.0,
            "delay_s": {"median": 0.5, "p95": 0.59, "worst": 0.6},
        }
    }  # fmt: skip


def test_a_record_is_judged_and_a_broken_one_is_named(tmp_path: Path) -> None:
    write_record(tmp_path / "db", "good")
    write_record(tmp_path / "db", "torn")
    (tmp_path / "db" / "torn.dat").unlink()
    progress: list[tuple[int, int]] = []
    result = evaluate(
        select("db", tmp_path), jobs=1, progress=lambda done, of: progress.append((done, of))
    )
    assert result["records"] == ["good"]
    assert list(result["failed"]) == ["torn"]
    assert result["qrs"]["se"] == 100.0
    assert result["qrs"]["ppv"] == 100.0
    assert result["veb"]["se"] > 90.0
    assert progress[-1] == (2, 2)


def test_leads_may_be_given_by_column(tmp_path: Path) -> None:
    write_record(tmp_path / "db", "good", seconds=330.0)
    selection = select("db", tmp_path)
    assert evaluate(selection, leads=("1",), jobs=1)["records"] == ["good"]
    assert "no lead 2" in evaluate(selection, leads=("2",), jobs=1)["failed"]["good"]


def test_the_command_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path / "db", "good", seconds=330.0)
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "db", "--records", str(tmp_path), "--jobs", "1", "--json", "-"])
    assert left.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["schema"] == "tocsin/evaluation/v1"
    assert result.keys() >= {
        "challenge_score",
        "rhythm_f1",
        "normal_rhythm",
        "confusion",
        "latency_s",
        "worst",
        "snr",
    }
    for kind in ("qrs", "veb", "sveb"):
        assert result[kind].keys() == {"se", "ppv", "tp", "fn", "fp", "ci95"}
    for kind in ("af", "vf"):
        names = {"episode_se", "episode_ppv", "duration_se", "duration_ppv"}
        assert result[kind].keys() == names | {"counts"}
        assert result[kind]["counts"].keys() == names
    assert result["records"] == [record["record"] for record in result["per_record"]] == ["good"]
    assert result["missing"] == []
    assert result["software"]["version"] == __version__
    assert all(len(digest) == 64 for digest in result["software"]["models"].values())


def test_a_database_of_which_nothing_could_be_judged_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(tmp_path / "db", "torn", seconds=330.0)
    (tmp_path / "db" / "torn.dat").unlink()
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "db", "--records", str(tmp_path), "--jobs", "1"])
    assert left.value.code == 4
    assert "failed: torn" in capsys.readouterr().out
