"""Every language says everything, and says it with the same values."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import msgspec
import pytest

from support.factories import NOON, make_alert
from tocsin_agent.delivery.faults import disk_fault, memory_full, rows_lost
from tocsin_agent.messages.alert import Kind
from tocsin_agent.messages.response import Outcome, Response
from tocsin_agent.monitor.alarms.table import ALARMS, SUPPORTS
from tocsin_agent.runtime.supervision import STALLED_VARIABLE, stalled_before
from tocsin_agent.sources.devices.wires.serial import SerialWire
from tocsin_agent.sources.devices.wires.tcp import TcpWire
from tocsin_agent.sources.devices.wires.udp import UdpWire
from tocsin_agent.team.language import Condition, available, load_language, preferred, rate_of
from tocsin_models.errors import ModelFault

LANGUAGES = ("de", "en", "fr")
ENGLISH = load_language("en")


def fields(template: str | None) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template or "") if name}


def test_three_languages_are_there() -> None:
    assert tuple(available()) == LANGUAGES
    with pytest.raises(ValueError, match="use one of de, en, fr"):
        load_language("xx")


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_names_every_alarm_of_the_table(code: str) -> None:
    """An alarm that is missing here has a row in the table and none in `team/languages/`."""
    conditions = load_language(code).conditions
    assert conditions.keys() >= ALARMS.keys()
    for name, alarm in ALARMS.items():
        condition = conditions[name]
        assert condition.headline.replace("{lead}", "").replace("{model}", "").isupper()
        assert fields(condition.sentence) <= fields(alarm.text)
        assert fields(condition.headline) <= fields(alarm.text)
        assert fields(condition.rule) <= set(alarm.limits)
        assert code == "en" or condition.rule


def test_english_says_what_the_device_says() -> None:
    for code, alarm in ALARMS.items():
        if code not in {"lead_off", "saturation"}:  # the state of a lead is left out
            assert ENGLISH.conditions[code].sentence == alarm.text


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_words_are_filled_in_with_the_same_values(code: str) -> None:
    words, english = load_language(code).words, ENGLISH.words
    for name in words.__struct_fields__:
        text = getattr(words, name)
        assert text.strip() == text
        assert text
        assert fields(text) == fields(getattr(english, name)), name


@pytest.mark.parametrize("code", ["de", "fr"])
def test_a_sentence_says_as_much_as_in_english(code: str) -> None:
    for name, condition in load_language(code).conditions.items():
        assert fields(condition.sentence) == fields(ENGLISH.conditions[name].sentence), name


@pytest.mark.parametrize(
    ("code", "known", "unknown"),
    [
        ("en", "No ECG arrives from the device: no device is connected to port 7208.",
         "No ECG arrives from the device: check it and its link."),
        ("de", "Vom Gerät kommt kein EKG: mit Port 7208 ist kein Gerät verbunden.",
         "Vom Gerät kommt kein EKG: Gerät und Verbindung prüfen."),
        ("fr", "Aucun ECG n'arrive de l'appareil : aucun appareil n'est connecté au port 7208.",
         "Aucun ECG n'arrive de l'appareil : vérifier l'appareil et sa liaison."),
    ],
)  # fmt: skip
def test_a_lost_source_states_its_reason(code: str, known: str, unknown: str) -> None:
    lost = make_alert(code="source_lost", kind=Kind.TECHNICAL, text="in the device's words")
    language = load_language(code)
    for measured, expected in (
        (dict[str, float | str](), unknown),
        ({"reason": TcpWire("127.0.0.1", 7208).why_silent() or ""}, known),
    ):
        evidence = msgspec.structs.replace(lost.evidence, measured=measured)
        assert language.sentence(msgspec.structs.replace(lost, evidence=evidence)) == expected


@pytest.mark.parametrize("code", ["de", "fr"])
def test_every_outcome_of_an_answer_is_worded(code: str) -> None:
    language = load_language(code)
    assert language.outcomes.keys() == set(Outcome)
    response = Response(
        id="1", alert_id="a" * 32, outcome=Outcome.HELD_BY_ANOTHER, holder="dr-m", at=NOON,
        text="dr-m has accepted this alert.",
    )  # fmt: skip
    assert "dr-m" in language.outcome(response)
    assert ENGLISH.outcome(response) == response.text


def test_the_rule_is_filled_in_with_the_limits_that_applied() -> None:
    alert = make_alert()
    limits = msgspec.structs.replace(alert.evidence, limits={"vt_beats": 5.0, "vt_bpm": 100.0})
    german = load_language("de")
    assert german.rule(msgspec.structs.replace(alert, evidence=limits)) == (
        "5 oder mehr ventrikuläre Schläge in Folge über 100/min"
    )
    verified = msgspec.structs.replace(
        limits, rule="ventricular beats of some lead in a row, verified by a model"
    )
    assert german.rule(msgspec.structs.replace(alert, evidence=verified)) == (
        "ventrikuläre Schläge einer Ableitung in Folge, durch ein Modell bestätigt"
    )
    assert german.rule(alert) == alert.evidence.rule  # limits of other names: the device's words


def test_an_unknown_code_and_missing_values_fall_back_to_the_device() -> None:
    odd = make_alert(code="torsades", text="Torsades de pointes.")
    assert ENGLISH.headline(odd) == "Ward 3, bed 7: TORSADES 162/min"
    assert ENGLISH.sentence(odd) == "Torsades de pointes."
    evidence = msgspec.structs.replace(make_alert().evidence, measured={"beats": "many"})
    bare = msgspec.structs.replace(make_alert(), evidence=evidence)
    assert ENGLISH.sentence(bare) == bare.text
    assert ENGLISH.headline(bare).endswith("VENTRICULAR TACHYCARDIA 162/min")


def test_no_rate_where_it_would_mislead() -> None:
    assert rate_of(make_alert(code="asystole")) is None
    assert rate_of(make_alert(code="ventricular_fibrillation")) is None
    assert rate_of(make_alert(code="pause")) is None
    assert rate_of(make_alert(code="lead_off", kind=Kind.TECHNICAL)) is None


def test_a_template_reaches_nothing_but_its_values() -> None:
    assert Condition("A", "b").rule is None
    evidence = msgspec.structs.replace(make_alert().evidence, measured={"lead": "{0.__class__}"})
    off = msgspec.structs.replace(make_alert(code="lead_off"), evidence=evidence)
    assert "LEAD {0.__class__} OFF" in ENGLISH.headline(off)


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "de_CH.UTF-8"}, "de"),
        ({"LANG": "de_DE", "LC_ALL": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ja_JP"}, "en"),
    ],
)
def test_the_language_of_the_system_is_the_default(environment: dict[str, str], code: str) -> None:
    assert preferred(environment) == code


@pytest.mark.parametrize("code", ["de", "fr"])
def test_a_phrase_exists_and_keeps_what_it_takes_over(code: str) -> None:
    """A phrase that no longer exists in the source was renamed there: a receiver reads English."""
    import tocsin_agent

    root = Path(tocsin_agent.__file__).parent
    said = " ".join(
        str(node.value)
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    said += " ".join(ModelFault)
    phrases = load_language(code).phrases
    assert phrases.keys() == load_language("de").phrases.keys()
    for english, translated in phrases.items():
        assert fields(translated) == fields(english), english
        for piece in re.split(r"\{\w+\}|: |; |the broker ", english):
            assert piece in said, english


@pytest.mark.parametrize("code", ["de", "fr"])
def test_what_the_device_states_in_english_is_translated(code: str) -> None:
    language = load_language(code)
    stalled = stalled_before({STALLED_VARIABLE: "the monitor"})
    assert stalled is not None
    faults = [rows_lost(3), memory_full(12), stalled]
    stated = [text for fault in faults for text in (fault.reason, fault.consequence)]
    stated += [disk_fault("x").consequence, "no model", *(each.lost for each in SUPPORTS.values())]
    stated += [str(UdpWire("::1", 7208).why_silent()), str(SerialWire("/dev/ecg").why_silent())]
    stated += [f"bytes arrive but no packets: {SerialWire('/dev/ecg').hint}"]
    for text in stated:
        assert language.phrase(text) != text
    assert "12" in language.phrase(memory_full(12).consequence)
    assert language.phrase("{odd} text") == "{odd} text"
    assert ENGLISH.phrase(stated[0]) == stated[0]
