"""Alerts and trends as HL7 v2.6 messages of the IHE Devices profiles: ORU^R40 and ORU^R01.

Source: IHE PCD TF-2 rev. 9 (PCD-04 Report Alert, PCD-01 Communicate PCD Data), HL7 v2.6 chapters 2,
3 and 7. A message depends on its document alone: sent again, it is the same to the last byte.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Alert, ClockState, Kind, Phase, Priority
from tocsin_agent.messages.printable import clean
from tocsin_agent.messages.trend import Trend
from tocsin_agent.team.export.answer import Answer
from tocsin_agent.team.export.codes import HEART_RATE, REFERENCE_IDS
from tocsin_agent.team.export.fhir import CLOCK_NOT_SET
from tocsin_agent.team.export.trace import end_was_seen

_ALERTS = "IHE_PCD_ACM_001^IHE PCD^1.3.6.1.4.1.19376.1.6.4.4^ISO"
_VITAL_SIGNS = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
_ALARM = "196616^MDC_EVT_ALARM^MDC"
_DEVICE = "69797^MDC_DEV_ECG_MDS^MDC"
_ECG = "69798^MDC_DEV_ECG_VMD^MDC"
_SOURCE = "68480^MDC_ATTR_ALERT_SOURCE^MDC"
_PHASE = "68481^MDC_ATTR_EVENT_PHASE^MDC"
_STATE = "68482^MDC_ATTR_ALARM_STATE^MDC"
_INACTIVATION = "68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC"
_PRIORITY = "68484^MDC_ATTR_ALARM_PRIORITY^MDC"
_TYPE = "68485^MDC_ATTR_ALERT_TYPE^MDC"
_VENTRICULAR_RATE = "148066^MDC_ECG_V_P_C_RATE^MDC"
_PER_MINUTE = "264864^MDC_DIM_BEAT_PER_MIN^MDC"

_PHASES = {Phase.ONSET: "start", Phase.UPDATE: "continue", Phase.END: "end"}
_PRIORITIES = {Priority.HIGH: "PH", Priority.MEDIUM: "PM", Priority.LOW: "PL"}
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"})
_MOST_TEXT, _MOST_NAME = 199, 20  # of the data types ST and IS
_OWN = "tocsin"
_LEAST_SIGNAL_S = 30.0


class _Report(NamedTuple):
    """One message about an alert: its number, the first one's, when, and what a person did."""

    number: str
    parent: str
    made: datetime
    inactivation: str = ""
    who: str = ""


class Addressee(NamedTuple):
    """To whom messages are addressed (MSH-5, MSH-6); empty where the receiver wants none."""

    application: str = ""
    facility: str = ""


def alert_message(alert: Alert, to: Addressee) -> str:
    """Return a document as ORU^R40 of PCD-04: event, phase, state, priority, type."""
    parent = f"^{alert.alert_id}.1&{_OWN}" if alert.sequence > 1 else ""
    number = f"{alert.alert_id}.{alert.sequence}"
    return _report(alert, to, _Report(number, parent, alert.published_at or alert.detected_at))


def answer_message(answer: Answer, to: Addressee) -> str:
    """Return what a person answered as ORU^R40: the alert, its inactivation state, and who."""
    alert, said = answer.alert, answer.response
    digest = hashlib.sha256((said.id or "").encode("utf-8", "surrogatepass")).hexdigest()[:16]
    silenced = said.action is Action.SILENCE
    state = "alert-acknowledged" if said.state is AlertState.ACKNOWLEDGED else "enabled"
    about = _Report(
        number=f"{alert.alert_id}.{digest}",
        parent=f"^{alert.alert_id}.1&{_OWN}",
        made=said.at,
        inactivation="audio-paused" if silenced else state,
        who=f"{escaped(said.who or '')}^^^^^^^^{_OWN}",
    )
    return _report(alert, to, about)


def _report(alert: Alert, to: Addressee, about: _Report) -> str:
    end = _moment(alert.detected_at) if alert.phase is Phase.END and end_was_seen(alert) else ""
    kind = "SP" if alert.kind is Kind.PHYSIOLOGICAL else "ST"
    phase = _PHASES[alert.phase]
    if about.inactivation and alert.phase is Phase.ONSET:
        phase = "continue"
    flags = f"{_PRIORITIES[alert.priority]}~{kind}"
    facets: dict[str, tuple[str, str, str, str, str]] = {
        "1": ("ST", _condition(alert), escaped(alert.text), "", flags),
        "2": _source(alert),
        "3": ("ST", _PHASE, phase, "", ""),
        "4": ("ST", _STATE, "inactive" if alert.phase is Phase.END else "active", "", ""),
        "5": ("ST", _INACTIVATION, about.inactivation, "", ""),
        "6": ("ST", _PRIORITY, _PRIORITIES[alert.priority], "", ""),
        "7": ("ST", _TYPE, kind, "", ""),
    }
    if not about.inactivation:  # the document of an alert does not say who has it
        del facets["5"]
    at = _moment(alert.detected_at)
    obx = [_obx(1, "", _DEVICE, "1.0.0.0", status="X", device=_device(alert))]
    obx += [
        _obx(
            n,
            kind_of,
            what,
            f"1.0.0.0.{place}",
            value,
            units=units,
            flags=flags,
            at=at if place != "5" else _moment(about.made),
            who=about.who if place == "5" else "",
        )
        for n, (place, (kind_of, what, value, units, flags)) in enumerate(facets.items(), 2)
    ]
    return _message(
        [
            _msh(
                alert,
                to,
                kind="ORU^R40^ORU_R40",
                key=about.number,
                made=about.made,
                profile=_ALERTS,
            ),
            *_patient(alert),
            _obr(f"{about.number}^{_OWN}", _ALARM, _moment(alert.onset_at), end, about.parent),
            *([f"NTE|1||{CLOCK_NOT_SET}"] if alert.clock is ClockState.UNSYNCHRONISED else []),
            *obx,
        ]
    )


def trend_message(trend: Trend, to: Addressee) -> str | None:
    """Return a minute as ORU^R01 of PCD-01; None where it has no heart rate."""
    rate = trend.heart_rate_bpm
    if rate is None:
        return None
    number = f"{escaped(trend.stream, 170)}.{trend.from_index}"
    at = _moment(trend.to_at)
    heart_rate = f"{HEART_RATE}^{REFERENCE_IDS[HEART_RATE]}^MDC"
    obx = [
        _obx(1, "", _DEVICE, "1.0.0.0", status="X", device=_device(trend)),
        _obx(2, "", _ECG, "1.1.0.0", status="X"),
        _obx(3, "NM", heart_rate, "1.1.1.1", _number(rate.mean), units=_PER_MINUTE, at=at),
    ]
    if trend.signal_s >= _LEAST_SIGNAL_S:
        per_minute = trend.ventricular_beats * 60.0 / trend.signal_s
        obx.append(
            _obx(
                4, "NM", _VENTRICULAR_RATE, "1.1.1.2", _number(per_minute), units=_PER_MINUTE, at=at
            )
        )
    key = f"{trend.site}\x1f{trend.device}\x1f{trend.stream}\x1f{trend.from_index}"
    return _message(
        [
            _msh(
                trend,
                to,
                kind="ORU^R01^ORU_R01",
                key=key,
                made=trend.to_at,
                profile=_VITAL_SIGNS,
            ),
            *_patient(trend),
            _obr(f"{number}^{_OWN}", _DEVICE, _moment(trend.from_at), at),
            *obx,
        ]
    )


def control_id(message: str) -> str:
    """Return MSH-10."""
    return message.split("|", 10)[9]


def escaped(text: str, most: int = _MOST_TEXT) -> str:
    """Return text from outside so that it stays inside its component (HL7 v2.6 chapter 2.7).

    Parameters
    ----------
    text : str
    most : int
        The most characters that the component holds; what follows is cut off.
    """
    found = ""
    for character in clean(text[:most]):
        more = character.translate(_ESCAPES)
        if len(found) + len(more) > most:
            break
        found += more
    return found


def _condition(alert: Alert) -> str:
    """Return the event: the MDC code of the condition or of any alarm, and tocsin's name."""
    code = alert.codes.mdc
    known = _ALARM if code is None else f"{code}^{REFERENCE_IDS.get(code, '')}^MDC"
    return f"{known}^{alert.code}^{alert.code.replace('_', ' ')}^99TOCSIN"


def _source(alert: Alert) -> tuple[str, str, str, str, str]:
    """Return what the alert rests on: the heart rate where it is known, else the device."""
    if alert.heart_rate_bpm is None:
        return "ST", _SOURCE, escaped(f"{alert.site}/{alert.device}"), "", ""
    code = f"{HEART_RATE}^{REFERENCE_IDS[HEART_RATE]}^MDC"
    return "NM", code, _number(alert.heart_rate_bpm), _PER_MINUTE, ""


def _msh(
    about: Alert | Trend, to: Addressee, *, kind: str, key: str, made: datetime, profile: str
) -> str:
    fields = [
        *("MSH", "^~\\&", _OWN, escaped(about.site, _MOST_NAME)),
        *(
            escaped(to.application, _MOST_NAME),
            escaped(to.facility, _MOST_NAME),
            _moment(made),
            "",
            kind,
        ),
        hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20],
        *("T" if about.synthetic else "P", "2.6", "", "", "AL", "NE", "", "UNICODE UTF-8"),
        *("", "", profile),
    ]
    return "|".join(fields)


def _patient(about: Alert | Trend) -> list[str]:
    """Return PID and PV1: the pseudonym as such, and the place."""
    patient = escaped(about.patient or "")
    identity = f"{patient}^^^{_OWN}^PI" if patient else ""
    name = f"{patient}^^^^^^S" if patient else "^^^^^^U"
    place = f"{escaped(about.site, _MOST_NAME)}^^{escaped(about.device, _MOST_NAME)}^^^^^^"
    place += escaped(about.location or f"{about.site}/{about.device}")
    return [f"PID|||{identity}||{name}", f"PV1||U|{place}"]


def _obr(number: str, what: str, begin: str, end: str, parent: str = "") -> str:
    fields = ["OBR", "1", "", number, what, "", "", begin, end]
    return "|".join([*fields, *[""] * 20, parent]).rstrip("|")


def _obx(
    number: int,
    kind: str,
    what: str,
    place: str,
    value: str = "",
    *,
    units: str = "",
    flags: str = "",
    at: str = "",
    status: str = "R",
    who: str = "",
    device: str = "",
) -> str:
    fields = ["OBX", str(number), kind, what, place, value, units, "", flags, "", "", status]
    fields += ["", "", at, "", who, "", device]
    return "|".join(fields).rstrip("|")


def _device(about: Alert | Trend) -> str:
    return f"{escaped(f'{about.site}/{about.device}')}^{_OWN}"


def _message(segments: list[str]) -> str:
    return "".join(f"{segment}\r" for segment in segments)


def _moment(moment: datetime) -> str:
    """Return UTC to the millisecond."""
    moment = moment.astimezone(UTC) + timedelta(microseconds=500)
    return f"{moment:%Y%m%d%H%M%S}.{moment.microsecond // 1000:03d}+0000"


def _number(value: float) -> str:
    return f"{value:.10g}"
