"""The language of the receiver: words, conditions and rules, each language a file of `languages/`.

A document carries a code, limits and measured values, which are the same everywhere; the receiver
chooses the language in which they are written out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources

import msgspec

from tocsin_agent.messages.alert import Alert, Kind, Phase
from tocsin_agent.messages.response import Response

DEFAULT = "en"
_FOLDER = resources.files("tocsin_agent.team") / "languages"
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_WITHOUT_RATE = frozenset({"ventricular_fibrillation", "asystole", "pause"})  # a rate would mislead


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fixed texts; what is in braces is filled in."""

    begins: str
    goes_on: str
    has_ended: str
    end_not_observed: str
    after: str
    high: str
    medium: str
    low: str
    synthetic: str
    clock_not_set: str
    clock_corrected: str
    onset_missed: str
    since: str
    detected: str
    heart_rate: str
    heart_rate_unknown: str
    patient: str
    why: str
    lead_quality: str
    to_team: str
    to_bedside: str
    again_team: str
    again_bedside: str
    repeated: str
    attended: str
    nobody: str
    expired: str
    left: str
    malformed_lease: str
    unknown_presence: str
    unstated_presence: str
    handed_over: str
    strip_unreadable: str
    device_online: str
    device_stopped: str
    device_offline: str
    device_state: str
    since_when: str
    connected_at: str
    present_until: str
    person_left: str
    person_gone: str
    role_at: str
    malformed: str
    signed_by: str
    unproven: str
    unproven_left_out: str
    onset: str
    onset_before: str
    no_signal: str
    cut_at: str
    paper: str
    superseded: str
    unseen_end: str
    bed: str
    alive: str
    rate_column: str
    leads_column: str
    active_column: str
    since_column: str
    who_column: str
    has_it: str
    nobody_yet: str
    silenced_until: str
    nothing_active: str
    yes: str
    no: str
    stopped: str
    key_accept: str
    key_silence: str
    key_give_back: str
    key_reject: str
    key_quit: str
    no_strip: str
    select_bed: str
    sending: str
    answered: str
    unanswered: str
    left_out: str
    lost: str
    no_ecg: str
    silent_for: str
    call_level: str
    read_only: str
    select_alert: str
    selection_moved: str
    context: str
    child: str
    neonate: str
    paced: str
    known_af: str
    usual_rate: str
    switched_off: str
    waiting: str
    watching: str
    present_as: str
    refused: str


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a condition is named.

    Parameters
    ----------
    headline : str
        Its name in capitals, for the first line.
    sentence : str
        One sentence, filled in with `evidence.measured`.
    rule : str, optional
        The rule, filled in with `evidence.limits`; unset: as the device states it, in English.
    unknown : dict, optional
        What stands in the sentence for a value that the device does not know.
    """

    headline: str
    sentence: str
    rule: str | None = None
    unknown: dict[str, str] = {}


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language: its own name, its words, each condition by code, each outcome of an answer.

    `phrases` are reasons and consequences that the device states in English, by their English
    form; what stands there in braces is taken over. English has no outcomes and no phrases.
    """

    name: str
    words: Words
    conditions: dict[str, Condition]
    outcomes: dict[str, str] = {}
    phrases: dict[str, str] = {}

    def condition(self, alert: Alert) -> str:
        """Return the condition of an alert in capitals; of an unknown code, the code itself."""
        return self.condition_of(alert.code, alert.evidence.measured)

    def condition_of(self, code: str, measured: Mapping[str, object]) -> str:
        """Return a condition in capitals, filled in with what was measured."""
        known = self.conditions.get(code)
        text = _filled(known.headline, measured) if known else None
        return text or code.replace("_", " ").upper()

    def sentence(self, alert: Alert) -> str:
        """Return the alert in one sentence; in the device's words if this language lacks it."""
        known = self.conditions.get(alert.code)
        if known is None or alert.phase is Phase.END:
            return alert.text
        measured = {
            name: self.phrase(value) if isinstance(value, str) else value
            for name, value in alert.evidence.measured.items()
        }
        return _filled(known.sentence, {**known.unknown, **measured}) or alert.text

    def phrase(self, text: str) -> str:
        """Return what a device states in English in this language; unchanged if it is lacking."""
        for english, translated in self.phrases.items():
            if found := _pattern(english).fullmatch(text):
                return translated.format_map(found.groupdict())
        return text

    def outcome(self, response: Response) -> str:
        """Return what a device did with an answer; else in its own words."""
        text = self.outcomes.get(response.outcome)
        return text.format(holder=response.holder or "—") if text else response.text

    def rule(self, alert: Alert) -> str:
        """Return the rule with its limits; in the device's words if this language lacks it."""
        known = self.conditions.get(alert.code)
        second = self.phrase(alert.evidence.rule)  # the rule of the condition is no phrase
        if known is None or known.rule is None or second != alert.evidence.rule:
            return second
        return _filled(known.rule, alert.evidence.limits) or alert.evidence.rule

    def headline(self, alert: Alert) -> str:
        """Return place, condition and rate: `Ward 3, bed 12: VENTRICULAR TACHYCARDIA 184/min`."""
        rate = rate_of(alert)
        text = f"{place_of(alert)}: {self.condition(alert)}"
        return text if rate is None else f"{text} {rate:.0f}/min"


def place_of(alert: Alert) -> str:
    """Return where to go: the location, or site and device where none is configured."""
    place = alert.location or f"{alert.site}/{alert.device}"
    return place[:1].upper() + place[1:]


def rate_of(alert: Alert) -> float | None:
    """Return the rate that the condition was found at, or the heart rate; None without one."""
    if alert.kind is Kind.TECHNICAL or alert.code in _WITHOUT_RATE:
        return None
    measured = alert.evidence.measured.get("rate_bpm")
    return float(measured) if isinstance(measured, float | int) else alert.heart_rate_bpm


@functools.cache
def _pattern(phrase: str) -> re.Pattern[str]:
    """Return what matches a phrase with anything in place of its braces."""
    parts = re.split(r"\{(\w+)\}", phrase)
    return re.compile(
        "".join(f"(?P<{part}>.+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )


def _filled(template: str, values: Mapping[str, object]) -> str | None:
    """Return a text filled in; None where a value is missing or of another type."""
    try:
        return template.format_map(values)
    except (KeyError, ValueError, TypeError):
        return None


def available() -> list[str]:
    """Return the codes of the languages, such as `en`."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in _FOLDER.iterdir()
        if entry.name.endswith(".toml")
    )


@functools.cache
def load_language(code: str) -> Language:
    """Return a language.

    Parameters
    ----------
    code : str
        Two letters, as `available` lists them.

    Raises
    ------
    ValueError
        If there is no such language.
    """
    if code not in available():
        raise ValueError(f"there is no language {code!r}: use one of {', '.join(available())}")
    text = (_FOLDER / f"{code}.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=Language)


def preferred(environment: Mapping[str, str]) -> str:
    """Return the language of the system's locale, English if it is not available."""
    for name in _VARIABLES:
        value = environment.get(name, "")
        if value:
            code = value[:2].lower()
            return code if code in available() else DEFAULT
    return DEFAULT
