"""False ectopic labels are counted where the reference has no ectopic beat."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.patients import write_record
from tocsin_agent.lab.evaluate import evaluate, select
from tocsin_agent.lab.evaluate.judge import Judgement
from tocsin_agent.lab.evaluate.normal_rhythm import false_ectopy


def judged(record: str, labels: Mapping[str, int], *, only_normal: bool = False) -> Judgement:
    return Judgement(
        record, 360.0, 0.5, None, False, None, None, {}, (), (),
        labels=labels, only_normal=only_normal,
    )  # fmt: skip


def test_records_without_ectopy_in_the_reference_are_counted(tmp_path: Path) -> None:
    counted = false_ectopy(
        tmp_path,
        [
            judged("a", {"N": 995, "S": 4, "V": 1}, only_normal=True),
            judged("b", {"N": 990, "Q": 10}, only_normal=True),
            judged("c", {"N": 900, "V": 100}),
        ],
    )
    assert counted is not None
    assert (counted["records"], counted["hours"], counted["beats"]) == (2, 1.0, 2000)
    assert counted["S"] == {"count": 4, "per_hour": 4.0, "per_1000_beats": 2.0, "records": 1}
    assert counted["V"] == {"count": 1, "per_hour": 1.0, "per_1000_beats": 0.5, "records": 1}


def test_a_list_of_rhythms_names_the_normal_records(tmp_path: Path) -> None:
    (tmp_path / "REFERENCE.csv").write_text("a,N\nb,A\nc,O\n")
    counted = false_ectopy(tmp_path, [judged(name, {"N": 9, "S": 1}) for name in "abc"])
    assert counted is not None
    assert (counted["records"], counted["S"]["count"]) == (1, 1)


def test_without_a_normal_record_there_is_nothing_to_count(tmp_path: Path) -> None:
    assert false_ectopy(tmp_path, [judged("a", {"N": 10})]) is None
    assert false_ectopy(tmp_path, [judged("a", {}, only_normal=True)]) is None


def test_the_evaluation_finds_the_records_by_their_reference(tmp_path: Path) -> None:
    write_record(tmp_path / "db", "calm", seconds=60.0, pattern="N")
    write_record(tmp_path / "db", "ectopic", seconds=60.0)
    counted = evaluate(select("db", tmp_path), jobs=1)["normal_rhythm"]
    assert counted["records"] == 1
    assert counted["beats"] > 50
    assert counted["S"]["count"] == counted["V"]["count"] == 0
