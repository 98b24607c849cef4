from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tocsin_agent.messages.alert import (
    Codes,
    Evidence,
    Kind,
    Phase,
    Priority,
    SignalQuality,
    decode_alert,
    encode_alert,
    make_alert_id,
)
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.runtime.clock import StreamClock
from tocsin_agent.runtime.document import Identity, compose
from tocsin_dsp.signal import StreamSpec

START = datetime(2024, 1, 1, tzinfo=UTC)
SPEC = StreamSpec("mitdb/208", 360.0, ("MLII",), synthetic=True)


def event(code: str = "asystole") -> AlertEvent:
    return AlertEvent(
        alert_id=make_alert_id(SPEC.stream_id, code, 3600),
        sequence=2,
        phase=Phase.END,
        kind=Kind.PHYSIOLOGICAL,
        code=code,
        priority=Priority.HIGH,
        onset_index=3600,
        detected_index=5040,
        heart_rate_bpm=None,
        evidence=Evidence(rule="no QRS for 4 s", limits={"asystole_s": 4.0}, measured={}),
        signal_quality=SignalQuality(leads={"MLII": 0.9}, used="MLII"),
        text="No heartbeat.",
    )


def test_a_document_says_when_where_and_what() -> None:
    identity = Identity(site="s", device="d", patient="p", location="Ward 3")
    alert = compose(event(), clock=StreamClock(360.0, START), identity=identity, spec=SPEC)
    assert alert.onset_at == START + timedelta(seconds=10)
    assert alert.detected_at == START + timedelta(seconds=14)
    assert (alert.site, alert.device, alert.patient, alert.location) == ("s", "d", "p", "Ward 3")
    assert (alert.stream, alert.synthetic) == ("mitdb/208", True)
    assert alert.codes == Codes(mdc=199684, snomed_ct="397829000")
    assert (alert.sequence, alert.phase, alert.text) == (2, Phase.END, "No heartbeat.")
    assert alert.published_at is None
    assert decode_alert(encode_alert(alert)) == alert


def test_a_code_that_is_not_surely_known_is_left_out() -> None:
    identity = Identity(site="s", device="d")
    pause = compose(event("pause"), clock=StreamClock(360.0, START), identity=identity, spec=SPEC)
    assert pause.codes == Codes()
    assert b'"codes":{}' in encode_alert(pause)
