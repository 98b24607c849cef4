"""One row an alarm: what the rows must agree in."""

from __future__ import annotations

import msgspec
import pytest

from tocsin_agent.messages.alert import Codes, Kind
from tocsin_agent.monitor.alarms.table import ALARMS, SUPPORTS, JudgedBy
from tocsin_agent.monitor.rhythm.limits import Limits

LIMITS = msgspec.structs.asdict(Limits())
CODES = {code: alarm.codes for code, alarm in ALARMS.items() if alarm.codes != Codes()}


@pytest.mark.parametrize("code", ALARMS)
def test_a_row_is_consistent(code: str) -> None:
    alarm = ALARMS[code]
    assert alarm.code == code
    assert alarm.implies <= ALARMS.keys() - {code}
    assert set(alarm.limits) <= LIMITS.keys()
    used = {name for name in LIMITS if f"{{{name}" in alarm.definition}
    assert used == set(alarm.limits), "the definition states the limits that it is judged by"
    assert alarm.text.endswith(".")
    judged = alarm.kind is not Kind.TECHNICAL and code != "patient_call"
    judged &= not code.startswith("trend_")  # no reference states a trend
    assert (alarm.judged_by is not None) is judged
    assert alarm.model is None or SUPPORTS[alarm.model.task] is alarm.model
    assert alarm.last_lead is None or alarm.last_lead.rank < alarm.priority.rank


def test_every_limit_belongs_to_an_alarm() -> None:
    assert {name for alarm in ALARMS.values() for name in alarm.limits} == LIMITS.keys() - {
        *("trend_alarms", "further_alarms")  # switches
    }


def test_an_alarm_that_rhythm_marks_judge_has_a_rhythm_and_one_duration() -> None:
    for alarm in ALARMS.values():
        if alarm.judged_by is not None and alarm.judged_by.by is not JudgedBy.BEATS:
            assert alarm.wfdb is not None
            assert len(alarm.limits) == 1


def test_rhythms_stand_with_the_gravest_first() -> None:
    rhythms = [alarm.wfdb for alarm in ALARMS.values() if alarm.wfdb]
    assert rhythms == ["(VF", "(ASYS", "(VT", "(AFIB", "(B"]


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("Asystole", {"asystole"}),
        ("Bradycardia", {"extreme_bradycardia", "asystole"}),
        (
            "Tachycardia",
            {"extreme_tachycardia", "ventricular_tachycardia", "ventricular_fibrillation"},
        ),
        ("Ventricular_Tachycardia", {"ventricular_tachycardia"}),
        ("Ventricular_Flutter_Fib", {"ventricular_fibrillation"}),
    ],
)
def test_the_alarm_types_of_the_challenge(kind: str, codes: set[str]) -> None:
    judged = {code: alarm.judged_by for code, alarm in ALARMS.items() if alarm.judged_by}
    assert {code for code, judging in judged.items() if kind in judging.challenge_2015} == codes


@pytest.mark.parametrize(("code", "codes"), CODES.items())
def test_public_codes_are_well_formed(code: str, codes: Codes) -> None:
    # MDC partitions 3 (alerts) and 10 (annotated ECG); SNOMED CT ids end in a concept's "00x" part
    assert codes.mdc is None or codes.mdc >> 16 in {3, 10}, code
    assert codes.snomed_ct is None or _verhoeff(codes.snomed_ct), code


def _verhoeff(digits: str) -> bool:
    """SNOMED CT ids end in a Verhoeff check digit: a mistyped one is caught here."""
    d = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
    d += [
        [*(((i + j) % 5) for j in range(5)), *(((i + j) % 5) + 5 for j in range(5))]
        for i in range(1, 5)
    ]
    d += [
        [*(5 + (i - j) % 5 for j in range(5)), *((i - j) % 5 for j in range(5))] for i in range(5)
    ]
    p = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    while len(p) < 8:
        p.append([p[-1][p[1][i]] for i in range(10)])
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = d[check][p[place % 8][int(digit)]]
    return check == 0
