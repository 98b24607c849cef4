"""The review loop on scripted patients: cases, answers, adjudication, set, training examples."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from support.patients import CALM, make_script, play
from tocsin_agent.cli.review import command
from tocsin_agent.errors import LabError
from tocsin_agent.lab.ec57.annotations import read_annotations, read_header
from tocsin_agent.lab.review import folder as review_folder
from tocsin_agent.lab.review.annotation_set import FILE, publish, read_set
from tocsin_agent.lab.review.cases import Case, Why, choose, spans
from tocsin_agent.lab.review.folder import (
    Answer,
    Excerpt,
    ReviewFile,
    read_answers,
    write_answers,
    write_review,
)
from tocsin_agent.lab.review.hindsight import Hindsight, hindsight
from tocsin_agent.lab.review.inputs import Monitored
from tocsin_agent.lab.review.page import write_page
from tocsin_agent.lab.review.settling import compare, settle
from tocsin_agent.messages.reading import ANY, Reading, Verdict
from tocsin_agent.sources.scripted.script import Segment
from tocsin_agent.team.console.reviewing import CaseReview
from tocsin_models import load_models

VT = "ventricular_tachycardia"
RATE = 360.0
RUN = Segment(seconds=20.0, pattern="NNNNNNNNNVVVVVVV", rate_bpm=130.0)


@pytest.fixture(scope="module")
def watched() -> Monitored:
    script = make_script(CALM, CALM, CALM, RUN, CALM, CALM, CALM)
    played = play(script, load_models())
    found = spans(played.alerts, script.samples)
    return Monitored("svdb/800", "svdb/800", RATE, script.samples, played.beats, found)


def exported(folder: Path, watched: Monitored) -> tuple[Case, ...]:
    """Write a review of every alert of the scripted patient and of as many calm stretches."""
    alerts, silent = watched.cases(())
    cases = tuple(choose(alerts, silent, 50, 1.0, seed=3))
    rows = np.random.default_rng(0)
    excerpts = (
        (c, Excerpt(("II",), rows.normal(0, 0.1, (c.stop - c.start, 1)), watched.beats_of(c)))
        for c in cases
    )
    write_review(folder, ReviewFile(seed=3, cases=cases), excerpts)
    return cases


def agreed(case: Case) -> Answer:
    if case.asked == ANY:
        return Answer(Verdict.FALSE, "", None, None)
    return Answer(Verdict.TRUE, case.asked, 3600, 4000)


def test_the_choice_has_rejected_unsure_sampled_and_silent(watched: Monitored) -> None:
    alerts, silent = watched.cases(())
    assert alerts
    rejected, silent = watched.cases({alerts[0].alert_id})
    chosen = choose(rejected, silent, 50, 0.5, seed=1)
    assert Why.REJECTED in {case.why for case in chosen}
    calm = [case for case in chosen if case.asked == ANY]
    assert len(calm) == min(round(0.5 * len(alerts)), len(silent)) > 0
    for case in calm:  # no alert near it
        assert not any(e.onset_index < case.stop and case.start < end for e, end in watched.found)
    assert chosen == choose(rejected, silent, 50, 0.5, seed=1)
    assert [case.case for case in chosen] == [f"case-{n:03d}" for n in range(1, len(chosen) + 1)]


def test_readers_are_not_shown_why_a_case_is_there(tmp_path: Path, watched: Monitored) -> None:
    cases = exported(tmp_path, watched)
    with (tmp_path / "cases" / "cases.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert [row["case"] for row in rows] == [case.case for case in cases]
    shown = (tmp_path / "cases" / "cases.csv").read_text()
    shown += (tmp_path / "cases" / f"{cases[0].case}.hea").read_text()
    assert not any(word in shown for word in (*Why, "svdb", "verified"))


def test_disputes_are_decided_by_a_third_reader(tmp_path: Path, watched: Monitored) -> None:
    cases = exported(tmp_path, watched)
    said = {case.case: agreed(case) for case in cases}
    first = next(case for case in cases if case.asked != ANY)
    write_answers(tmp_path, "anna", cases, said)
    other = said | {first.case: Answer(Verdict.FALSE, "", None, None)}
    write_answers(tmp_path, "bela", cases, other)
    found = compare(tmp_path, cases, "anna", "bela")
    assert [one.case for one in found.disputed] == [first]
    assert found.disputed[0].about == "verdict"
    assert found.verdicts.value is not None
    assert found.verdicts.value < 1
    assert settle(tmp_path, found, None)[1] == list(found.disputed)
    write_answers(tmp_path, "cleo", cases, {first.case: said[first.case]})
    settled, open_ = settle(tmp_path, found, "cleo")
    assert open_ == []
    unread = next(case.case for case in cases if case != first)
    write_answers(tmp_path, "anna", cases, {k: v for k, v in said.items() if k != unread})
    write_answers(tmp_path, "cleo", cases, said)  # more than the two have read
    found_less = compare(tmp_path, cases, "anna", "bela")
    assert found_less.unanswered == (unread,)
    assert len(settle(tmp_path, found_less, "cleo")[0]) == len(cases) - 1
    write_answers(tmp_path, "anna", cases, said)
    assert {s.case.case: s.by for s in settled}[first.case] == "cleo"
    with pytest.raises(LabError, match="a third person"):
        settle(tmp_path, found, "anna")


def test_moved_beats_and_onsets_are_disputed_or_kept(tmp_path: Path, watched: Monitored) -> None:
    cases = exported(tmp_path, watched)
    case = next(case for case in cases if case.asked != ANY)
    beats = tuple(watched.beats_of(case))
    moved = ((beats[0][0] + 4, "V"), *beats[1:])
    write_answers(tmp_path, "anna", cases, {case.case: agreed(case)})
    write_answers(tmp_path, "bela", cases, {case.case: agreed(case)._replace(beats=moved)})
    assert read_answers(tmp_path, "bela", cases)[case.case].beats == moved
    (one,) = compare(tmp_path, cases, "anna", "bela").disputed
    assert one.about == "beats"
    write_answers(tmp_path, "bela", cases, {case.case: agreed(case)._replace(onset=0)})
    (one,) = compare(tmp_path, cases, "anna", "bela").disputed
    assert one.about == "onset"


def test_a_set_states_what_was_reviewed_and_notices_changes(
    tmp_path: Path, watched: Monitored
) -> None:
    review, into = tmp_path / "review", tmp_path / "set"
    cases = exported(review, watched)
    for name in ("anna", "bela"):
        write_answers(review, name, cases, {case.case: agreed(case) for case in cases})
    found = compare(review, cases, "anna", "bela")
    publish(review, into, {"beats": "abc"}, found, found.agreed, adjudicator=None)
    stated = read_set(into)
    assert stated.agreement.readers == ("anna", "bela")
    assert len(stated.cases) == len(cases)
    (tmp_path / "800.hea").write_text(f"800 1 {RATE:g} {watched.samples}\n")
    marks = read_annotations(into / "svdb" / "800.rev", read_header(tmp_path / "800.hea"))
    begins = [at for at, aux in zip(marks.sample, marks.aux, strict=True) if " true" in aux]
    assert sorted(begins) == sorted(case.start for case in cases if case.asked != ANY)
    with pytest.raises(LabError, match="not empty"):
        publish(review, into, {}, found, found.agreed, adjudicator=None)
    (into / "svdb" / "800.rev").write_bytes(b"\0\0")
    with pytest.raises(LabError, match="not the one"):
        read_set(into)


def test_hindsight_counts_what_the_agent_raises(tmp_path: Path, watched: Monitored) -> None:
    review, into = tmp_path / "review", tmp_path / "set"
    cases = exported(review, watched)
    for name in ("anna", "bela"):
        write_answers(review, name, cases, {case.case: agreed(case) for case in cases})
    found = compare(review, cases, "anna", "bela")
    done = publish(review, into, {}, found, found.agreed, adjudicator=None)
    kept = hindsight(done.provenance.cases, {"svdb/800": watched.found})
    lost = hindsight(done.provenance.cases, {"svdb/800": []})
    asked = {case.asked for case in cases} - {ANY}
    assert set(kept) == asked == set(lost)
    for code in asked:
        number = sum(case.asked == code for case in cases)
        assert kept[code] == Hindsight(true_kept=number)
        assert lost[code] == Hindsight(true_lost=number)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("case-001,maybe,,,", "verdict"),
        ("case-999,false,,,", "no case"),
        ("case-001,false,asystole,,", "names none"),
        ("case-001,other,flutter,,", "no alarm"),
        ("case-001,other,asystole,1000,", "not within"),
        ("case-001,other,asystole,x,", "seconds expected"),
        ("case-001,other,asystole,2,1", "before its onset"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_line(
    tmp_path: Path, watched: Monitored, row: str, wrong: str
) -> None:
    cases = exported(tmp_path, watched)
    file = tmp_path / "answers" / "anna.csv"
    file.write_text(",".join(review_folder.COLUMNS) + "\n" + row + "\n")
    with pytest.raises(LabError, match=rf"line 2.*{wrong}"):
        read_answers(tmp_path, "anna", cases)


def test_what_is_taken_is_added_to_what_the_reader_has_answered(
    tmp_path: Path, watched: Monitored
) -> None:
    cases = exported(tmp_path, watched)
    first, second = cases[0].case, cases[1].case
    table = tmp_path / "answers" / "anna.csv"
    table.write_text(",".join(review_folder.COLUMNS) + f"\n{first},false,,,\n")
    saved = tmp_path / "anna.json"
    for verdict in ("false", "other"):  # the second corrects the first
        said = {"verdict": verdict, "condition": "asystole" if verdict == "other" else ""}
        saved.write_text(
            json.dumps({"schema": "tocsin/review-answers/v1", "answers": {second: said}})
        )
        taken = ["take", str(tmp_path), str(saved), "--reader", "anna"]
        assert CliRunner().invoke(command, taken, catch_exceptions=False).exit_code == 0
    answers = read_answers(tmp_path, "anna", cases)
    assert {case: one.verdict for case, one in answers.items()} == {
        first: Verdict.FALSE,
        second: Verdict.OTHER,
    }
    assert review_folder.readers(tmp_path) == ["anna"]
    table.write_text(",".join(review_folder.COLUMNS) + "\n")
    with pytest.raises(LabError, match="remove one of them"):
        read_answers(tmp_path, "anna", cases)


def test_what_else_lies_among_the_answers(tmp_path: Path, watched: Monitored) -> None:
    cases = exported(tmp_path, watched)
    answers = tmp_path / "answers"
    (answers / "._anna.csv").write_text("")
    assert review_folder.readers(tmp_path) == []
    with pytest.raises(LabError, match=r"no answers of 'anna.\[31m': nobody answered"):
        read_answers(tmp_path, "anna\x1b[31m", cases)
    columns = ",".join(review_folder.COLUMNS)
    (answers / "anna.csv").write_text(f"{columns}\ncase-001,false,{'x' * 200_000},,\n")
    with pytest.raises(LabError, match="cannot be read: field larger"):
        read_answers(tmp_path, "anna", cases)


def test_a_folder_is_new_and_can_be_written_before_anything_is_monitored(
    tmp_path: Path, watched: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_agent.lab.review.inputs.monitor_record", lambda _: watched)
    review, file = tmp_path / "review", tmp_path / "file"
    file.touch()
    cases = exported(review, watched)
    run = CliRunner().invoke
    for name in ("anna", "bela"):
        write_answers(review, name, cases, {case.case: agreed(case) for case in cases})
    for refused in (
        ["export", "svdb/none", "--into", str(review)],
        ["publish", str(review), "--into", str(review)],
    ):
        done = run(command, refused)
        assert isinstance(done.exception, LabError)
        assert "is not empty" in str(done.exception)
    done = run(command, ["publish", str(review), "--into", str(file / "set")])
    assert (done.exit_code, "give another place by --into" in done.output) == (2, True)
    (tmp_path / "empty").mkdir()
    done = run(command, ["agree", str(tmp_path / "empty")])
    assert "holds no review" in str(done.exception)


def test_two_programs_that_keep_answers_of_one_reader_lose_none(
    tmp_path: Path, watched: Monitored
) -> None:
    cases = exported(tmp_path, watched)
    named = [case.case for case in cases]
    assert len(named) >= 2
    write_page(tmp_path / "cases", [(c, Excerpt(("II",), np.zeros((500, 1)), [])) for c in cases])

    def save(names: list[str]) -> None:
        for _ in range(10):
            for name in names:
                CaseReview(tmp_path).save(name, "anna", Reading(Verdict.FALSE))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, (named[::2], named[1::2])))
    assert set(read_answers(tmp_path, "anna", cases)) == set(named)


@pytest.mark.records
def test_the_commands_lead_from_a_record_to_a_set(tmp_path: Path) -> None:
    review, into = tmp_path / "review", tmp_path / "set"
    run = CliRunner().invoke
    done = run(command, ["export", "svdb/868", "--count", "4", "--into", str(review)])
    assert done.exit_code == 0, done.output
    cases = review_folder.read_review(review).cases
    write_answers(review, "anna", cases, {case.case: agreed(case) for case in cases})
    assert (review / "cases" / "review.html").is_file()
    saved = {
        case.case: {"verdict": "false"}
        if case.asked == ANY
        else {"verdict": "true", "onset_s": 3600 / case.rate_hz, "end_s": 4000 / case.rate_hz}
        for case in cases
    }
    (tmp_path / "bela.json").write_text(
        json.dumps({"schema": "tocsin/review-answers/v1", "answers": saved})
    )
    taken = ["take", str(review), str(tmp_path / "bela.json"), "--reader", "bela"]
    assert run(command, taken).exit_code == 0
    agreement = run(command, ["agree", str(review), "--json"], catch_exceptions=False)
    assert json.loads(agreement.output)["unanswered"] == []
    done = run(command, ["publish", str(review), "--into", str(into)])
    assert done.exit_code == 0, done.output
    assert (into / FILE).is_file()
    report = run(command, ["report", str(into), "--json"])
    assert report.exit_code == 0, report.output
    counted = json.loads(report.output)["alarms"].values()
    assert sum(c["true_kept"] for c in counted) == sum(case.asked != ANY for case in cases)
