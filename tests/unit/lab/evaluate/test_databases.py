"""Each database by its rules: its records, its reference, and what that judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import wfdb

from support.patients import make_script, samples_of
from tocsin_agent.lab.evaluate import evaluate, select
from tocsin_agent.lab.evaluate.databases import Reference, reference_for
from tocsin_agent.sources.scripted.script import Segment
from tocsin_agent.sources.scripted.synthetic import SyntheticSource

SECONDS = 320.0
HOW_MANY = {
    "mitdb": 48, "svdb": 78, "vfdb": 22, "nstdb": 12, "cudb": 35, "afdb": 23, "edb": 90,
    "ludb": 200, "qtdb": 105,
}  # fmt: skip


class Patient:
    """A scripted patient that can be written in the format of any database."""

    def __init__(self, seconds: float, rate_hz: float, leads: tuple[str, ...]) -> None:
        script = make_script(
            Segment(seconds=seconds, pattern="NNNNNV"), rate_hz=rate_hz, leads=leads
        )
        self.rate_hz, self.leads = rate_hz, leads
        self.samples_mv = samples_of(script)[1]
        truth = SyntheticSource(script).truth()
        self.beats = [b for b in truth.beats if b < len(self.samples_mv) - rate_hz / 2]
        self.labels = list(truth.labels[: len(self.beats)])

    def write(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        wfdb.wrsamp(
            name, fs=self.rate_hz, units=["mV"] * len(self.leads), sig_name=list(self.leads),
            p_signal=self.samples_mv, fmt=["16"] * len(self.leads), write_dir=str(folder),
        )  # fmt: skip

    def annotate(
        self, folder: Path, name: str, annotator: str, marks: Sequence[tuple[int, str, str]]
    ) -> None:
        ordered = sorted(marks)
        wfdb.wrann(
            name, annotator, np.array([at for at, _, _ in ordered]),
            symbol=[symbol for _, symbol, _ in ordered],
            aux_note=[aux for _, _, aux in ordered], write_dir=str(folder),
        )  # fmt: skip

    def beat_marks(self) -> list[tuple[int, str, str]]:
        return [(b, label, "") for b, label in zip(self.beats, self.labels, strict=True)]


@pytest.fixture(scope="module")
def patient() -> Patient:
    return Patient(SECONDS, 250.0, ("II", "V1"))


@pytest.mark.parametrize("database", HOW_MANY)
def test_missing_records_are_known_by_name(tmp_path: Path, database: str) -> None:
    folder = tmp_path / database
    listed = select_one(folder, database)
    assert len(listed) == HOW_MANY[database]
    assert len(set(listed)) == len(listed)


def select_one(folder: Path, database: str) -> list[str]:
    """Return the records of a database of which one is in the folder."""
    one = {"ludb": "data/7", "mitdb": "100", "svdb": "800", "vfdb": "418", "nstdb": "118e24",
           "cudb": "cu01", "afdb": "04015", "edb": "e0103", "qtdb": "sel30"}[database]  # fmt: skip
    (folder / one).parent.mkdir(parents=True)
    (folder / f"{one}.hea").touch()
    selection = select(database, folder.parent)
    assert selection.records == (one,)
    return [one, *selection.missing]


def test_a_list_that_is_too_short_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "nstdb").mkdir()
    for name in ("118e00", "em", "extra"):
        (tmp_path / "nstdb" / f"{name}.hea").touch()
    (tmp_path / "nstdb" / "RECORDS").write_text("118e00\nem\nextra\n")
    selection = select("nstdb", tmp_path)
    assert selection.records == ("118e00", "extra")
    assert len(selection.missing) == 11


@pytest.mark.parametrize("name", ["ALARMS", "REFERENCE.csv"])
def test_the_list_of_a_challenge_states_what_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("a,Asystole,1\r\nb,Asystole,0\r\n")
    (tmp_path / "mine" / "a.hea").touch()
    selection = select(str(tmp_path / "mine"))
    assert (selection.records, selection.missing) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("database", "leads", "annotator", "expected"),
    [
        ("mitdb", None, None, Reference("atr")),
        ("mitdb", None, "prt", Reference("prt")),
        ("cudb", None, None, Reference("atr", beats=False)),
        ("ludb", None, None, Reference("ii", partial=True)),
        ("ludb", ("V5",), None, Reference("v5", partial=True)),
        ("ludb", ("0", "1"), None, Reference("i", partial=True)),
        ("qtdb", None, None, Reference("q1c", partial=True)),
        ("qtdb", None, "man", Reference("man", partial=True)),
    ],
)
def test_the_reference_of_each_database(
    tmp_path: Path,
    database: str,
    leads: tuple[str, ...] | None,
    annotator: str | None,
    expected: Reference,
) -> None:
    assert reference_for(database, tmp_path / "r", leads, annotator) == expected


def test_qtdb_is_judged_by_all_its_beats_where_it_has_them(tmp_path: Path) -> None:
    (tmp_path / "sel100.atr").touch()
    assert reference_for("qtdb", tmp_path / "sel100") == Reference("atr")


@pytest.mark.parametrize("database", ["vfdb", "afdb"])
def test_rhythms_alone_judge_no_beats(tmp_path: Path, patient: Patient, database: str) -> None:
    name = {"vfdb": "418", "afdb": "04015"}[database]
    patient.write(tmp_path / database, name)
    mark = {"vfdb": "(VFL", "afdb": "(AFIB"}[database]
    at = round(305 * patient.rate_hz)
    patient.annotate(tmp_path / database, name, "atr", [(10, "+", "(N"), (at, "+", mark)])
    result = evaluate(select(database, tmp_path), jobs=1)
    assert result["qrs"] is result["veb"] is result["confusion"] is None
    kind = {"vfdb": "vf", "afdb": "af"}[database]
    assert result[kind]["episode_se"] == 0.0
    assert "couplet" not in result["alarms"]


def test_unchecked_reference_beats_judge_nothing(tmp_path: Path, patient: Patient) -> None:
    patient.write(tmp_path / "cudb", "cu01")
    marks = [(round(s * patient.rate_hz), mark, "") for s, mark in ((305, "["), (315, "]"))]
    patient.annotate(tmp_path / "cudb", "cu01", "atr", [*patient.beat_marks(), *marks])
    result = evaluate(select("cudb", tmp_path), jobs=1)
    assert result["qrs"] is None
    assert result["vf"]["episode_se"] == 0.0
    assert result["alarms"]["ventricular_fibrillation"]["missed"] == 1


@pytest.mark.parametrize(("database", "name"), [("edb", "e0103"), ("qtdb", "sel1")])
def test_beats_are_judged_behind_the_learning_period(
    tmp_path: Path, patient: Patient, database: str, name: str
) -> None:
    folder = tmp_path / database
    patient.write(folder, name)
    (folder / "RECORDS").write_text(f"{name}\n")
    others = [(round(200 * patient.rate_hz), "s", "(ST0+"), (5, "T", "(T0-")]
    patient.annotate(folder, name, "atr", [*patient.beat_marks(), *others])
    result = evaluate(select(database, tmp_path), jobs=1)
    learnt = sum(b >= 300 * patient.rate_hz for b in patient.beats)
    assert result["qrs"]["tp"] == learnt
    assert result["qrs"]["fn"] == result["qrs"]["fp"] == 0


def test_a_lead_of_ludb_is_judged_where_it_is_marked(tmp_path: Path) -> None:
    short = Patient(10.0, 500.0, ("i", "ii", "iii"))
    folder = tmp_path / "ludb" / "data"
    short.write(folder, "1")
    marked = short.beats[2:-2]
    waves = [(b - 20, "(", "") for b in marked] + [(b + 20, ")", "") for b in marked]
    short.annotate(folder, "1", "ii", [*((b, "N", "") for b in marked), *waves])
    result = evaluate(select("ludb", tmp_path), jobs=1)
    assert (result["qrs"]["tp"], result["qrs"]["fn"], result["qrs"]["fp"]) == (len(marked), 0, 0)
    assert result["veb"] is None  # every beat is marked N, whatever it is
    assert len(result["missing"]) == 199
    other = evaluate(select("ludb", tmp_path), leads=("2",), jobs=1)
    assert "1.iii" in other["failed"]["data/1"]


def test_a_record_without_its_reference_has_failed(tmp_path: Path, patient: Patient) -> None:
    patient.write(tmp_path / "mitdb", "100")
    result = evaluate(select("mitdb", tmp_path), jobs=1)
    assert "100.atr" in result["failed"]["100"]
    assert result["records"] == []


def test_a_challenge_needs_no_annotations(tmp_path: Path, patient: Patient) -> None:
    patient.write(tmp_path / "cinc2015", "a1")
    (tmp_path / "cinc2015" / "ALARMS").write_text("a1,Asystole,0\nb2,Asystole,1\n")
    result = evaluate(select("cinc2015", tmp_path), jobs=1)
    assert result["challenge_score"]["score"] == 1.0
    assert result["missing"] == ["b2"]
    assert not result["failed"]


def test_corrections_of_a_reference_are_noted(tmp_path: Path, patient: Patient) -> None:
    folder = tmp_path / "db"
    patient.write(folder, "r")
    beyond = [(len(patient.samples_mv) + 100, "N", "")]
    patient.annotate(folder, "r", "atr", [*patient.beat_marks(), *beyond])
    result = evaluate(select("db", tmp_path), jobs=1)
    (record,) = result["per_record"]
    assert record["notes"] == ["r.atr has 1 annotations outside the signal: left out"]
    assert result["qrs"]["fn"] == 0


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"\0\0", "nothing to compare"), (b"abc", "cut off")]
)
def test_an_unusable_reference_is_a_failure_with_its_reason(
    tmp_path: Path, patient: Patient, content: bytes, reason: str
) -> None:
    patient.write(tmp_path / "db", "r")
    (tmp_path / "db" / "r.atr").write_bytes(content)
    assert reason in evaluate(select("db", tmp_path), jobs=1)["failed"]["r"]
