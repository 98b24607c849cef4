"""What travels between the console's server and its page, as types; JSON, times ISO 8601 in UTC.

Every text may come from outside: it has no control characters, and may hold any others, `<` too.
A page writes it as text, never as HTML.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from tocsin_agent.messages.acknowledgement import Action
from tocsin_agent.messages.active import AlertState
from tocsin_agent.messages.alert import Audience, Kind, Phase, Priority
from tocsin_agent.messages.reading import IndexedCase, Reading, ShownCase

VERSION = 1
"""Of this protocol: a page that was loaded before the server changed it loads itself again."""

Right: TypeAlias = Literal["read", "answer", "presence", "review", "audit"]
State: TypeAlias = Literal[
    "unknown", "starting", "monitoring", "source_lost", "stopped", "silent", "offline"
]
"""Of a bed. Alerts can come from `monitoring` (and technical ones from `source_lost`) only."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in; `csrf` goes into the header `X-CSRF-Token` of each POST.

    `ask_s` is how often the page asks again by `GET /api/session`: where a proxy logs people in, it
    alone knows when that login has ended. None: not at all.
    """

    user: str
    role: str
    rights: tuple[Right, ...]
    language: str
    csrf: str
    expires_at: datetime
    ask_s: float | None = None


class ReviewList(msgspec.Struct, frozen=True, kw_only=True):
    """The cases of a review, by whether this person has answered, and what an answer may name.

    `names` are those of the conditions in the person's language.
    """

    conditions: tuple[str, ...]
    names: dict[str, str] = {}
    labels: tuple[str, ...]
    unread: tuple[IndexedCase, ...]
    read: tuple[IndexedCase, ...]


class ReviewCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case, and what this person has answered; nobody is sent the answer of another person."""

    shown: ShownCase
    reading: Reading | None


class LeadView(msgspec.Struct, frozen=True):
    """A lead: quality 0 to 1, and whether the beat labels are from it."""

    name: str
    quality: float
    used: bool


class PresenceShown(msgspec.Struct, frozen=True, kw_only=True):
    """A lease at a site. `present` only while it has not expired.

    `until` is when it expires, if it is not renewed; `confirm_by` is when a person who pressed at
    this console must press again.
    """

    site: str
    role: str
    who: str | None
    present: bool
    until: datetime | None
    confirm_by: datetime | None = None


class Reliability(msgspec.Struct, frozen=True):
    """How often this alarm was right on recordings: `right` of `raised`, `found` of `due`."""

    records: str
    right: int
    raised: int
    found: int
    due: int


class Measured(msgspec.Struct, frozen=True):
    """A limit or a measured value, as the device names it: `vt_bpm`, `qrs_ms`."""

    name: str
    value: float | str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why the alarm was raised.

    Parameters
    ----------
    rule : str
        In the session's language.
    limits, measured : tuple of Measured
    verdict : str or None
        What the verifying model answered, where the alarm has one.
    certainty : float or None
        Its probability, 0 to 1.
    probabilities : tuple of Measured
        Mean class probabilities of the beats that count.
    model : str or None
    lead : str or None
        The lead in use.
    trusted : bool
        False where the last beat may be noise.
    """

    rule: str
    limits: tuple[Measured, ...] = ()
    measured: tuple[Measured, ...] = ()
    verdict: str | None = None
    certainty: float | None = None
    probabilities: tuple[Measured, ...] = ()
    model: str | None = None
    lead: str | None = None
    trusted: bool = True


class StripView(msgspec.Struct, frozen=True, kw_only=True):
    """The ECG before the detection: `data` is base64 of little-endian int16, row by row.

    -32768 is a missing sample. `labels` are those of the beats at `rows`.
    """

    leads: tuple[str, ...]
    rate_hz: float
    gain_per_mv: float
    data: str
    from_at: datetime
    rows: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    onset_row: int | None = None


class Level(msgspec.Struct, frozen=True):
    """A level of the chain, and when it was addressed."""

    name: str
    at: datetime


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is now.

    Parameters
    ----------
    site, device : str
    alert_id : str
    sequence : int
        Of its latest document.
    code : str
        The condition: the same in every language.
    kind : Kind
    priority : Priority
    phase : Phase
        Of its latest document.
    state : AlertState
        `closed` ones are in no bed any more.
    condition : str
        In capitals, in the session's language.
    text : str
        One sentence, in the session's language.
    rate_bpm : float or None
        The rate at which the condition was found.
    since : datetime
        The onset.
    detected_at : datetime or None
    ended_at : datetime or None
    end_observed : bool
        False where nobody knows whether the condition is over.
    holder : str or None
        Who has it.
    accepted_at, silenced_until : datetime or None
    level : str
        The last level of the chain that was addressed.
    addressed : tuple of Level
    repeats : int
    audience : Audience or None
        To whom its latest document was sent.
    why : Why or None
        None until its document has arrived.
    what_to_do : str
        In English; empty for an unknown code.
    right : tuple of Reliability
    unproven : str
        Why it is not known who sent it; empty where that is known, or nothing is verified.
    synthetic : bool
        The samples are not from a patient.
    clock : str
        `synchronised`, `unsynchronised` or `corrected`.
    has_strip : bool
        Whether there is a strip to fetch.
    """

    site: str
    device: str
    alert_id: str
    sequence: int
    code: str
    kind: Kind
    priority: Priority
    phase: Phase
    state: AlertState
    condition: str
    text: str
    rate_bpm: float | None = None
    since: datetime
    detected_at: datetime | None = None
    ended_at: datetime | None = None
    end_observed: bool = True
    holder: str | None = None
    accepted_at: datetime | None = None
    silenced_until: datetime | None = None
    level: str = ""
    addressed: tuple[Level, ...] = ()
    repeats: int = 0
    audience: Audience | None = None
    why: Why | None = None
    what_to_do: str = ""
    right: tuple[Reliability, ...] = ()
    unproven: str = ""
    synthetic: bool = False
    clock: str = "synchronised"
    has_strip: bool = False


class BedView(msgspec.Struct, frozen=True, kw_only=True):
    """A bed: whether it is alive, what is measured, what is active.

    Parameters
    ----------
    site, device : str
    place : str
        The location, or site and device.
    patient : str or None
        A pseudonym.
    heart_rate_bpm : float or None
        None where it is not known now: not monitored, or not alive.
    leads : tuple of LeadView
    battery : "low" or None
        `low` while the device says so.
    state : State
    stale : bool
        True where what is shown is not of now: `silent`, `offline`, or no connection to the broker.
    last_seen_at : datetime or None
        When the device last sent anything.
    stale_at : datetime or None
        From then on it is stale, unless it sends something before: the page shows so by itself.
    last_beat_at : datetime or None
        Known where a waveform is watched.
    synthetic : bool
    context : str
        What is known of the patient, in words.
    presence : PresenceShown or None
        As the device knows it: who receives its alerts first.
    faults : tuple of str
        What does not work in keeping and delivering alerts.
    waveforms : tuple of str
        Leads that the device publishes live; empty where it publishes none.
    alerts : tuple of AlertView
        Open ones, the gravest first.
    """

    site: str
    device: str
    place: str
    patient: str | None = None
    heart_rate_bpm: float | None = None
    leads: tuple[LeadView, ...] = ()
    battery: Literal["low"] | None = None
    state: State = "unknown"
    stale: bool = False
    last_seen_at: datetime | None = None
    stale_at: datetime | None = None
    last_beat_at: datetime | None = None
    synthetic: bool = False
    context: str = ""
    presence: PresenceShown | None = None
    faults: tuple[str, ...] = ()
    waveforms: tuple[str, ...] = ()
    alerts: tuple[AlertView, ...] = ()


class Broker(msgspec.Struct, frozen=True, tag="broker", kw_only=True):
    """The server's connection to the broker: while it is lost, everything may be old."""

    connected: bool
    since: datetime
    reason: str = ""


class Hello(msgspec.Struct, frozen=True, tag="hello", kw_only=True):
    """The first message of a connection; `boot` is another one after each start of the server."""

    now: datetime
    session: Session
    broker: Broker
    languages: tuple[str, ...]
    version: int = VERSION
    release: str
    boot: str
    title: str = "tocsin"
    reject_reasons: tuple[str, ...] = ()
    push_key: str | None = None


class Beds(msgspec.Struct, frozen=True, tag="beds"):
    """The whole state: it replaces everything that the page knows."""

    beds: tuple[BedView, ...]
    presence: tuple[PresenceShown, ...]


class BedMessage(msgspec.Struct, frozen=True, tag="bed"):
    """One bed that changed; it replaces what the page knows of it."""

    bed: BedView


class BedGone(msgspec.Struct, frozen=True, tag="bed_gone"):
    """A bed that is no longer there: its device cleared what is active."""

    site: str
    device: str


class AlertMessage(msgspec.Struct, frozen=True, tag="alert"):
    """What has just happened to an alert: a reason to sound, notify or say something.

    `event` is `onset`, `update`, `end`, `repeat` (nobody has accepted it), `level` (a further level
    was addressed), `accepted`, `given_back`, `silenced` or `closed`. The bed follows by itself.
    """

    event: Literal[
        "onset", "update", "end", "repeat", "level", "accepted", "given_back", "silenced", "closed"
    ]
    alert: AlertView
    place: str


class HistoryMessage(msgspec.Struct, frozen=True, tag="history"):
    """There is more to read of an alert than before, or of the minutes of a bed (no alert)."""

    site: str
    device: str
    alert_id: str = ""


class Wave(msgspec.Struct, frozen=True, tag="wave", kw_only=True):
    """A piece of a watched lead: base64 of little-endian int16, -32768 for a missing sample.

    `gain_uv` is microvolts a count, `at` the UTC of the first sample. A `start_index` after the end
    of the last piece is a gap; one before it is a new counter (`stream` differs).
    """

    site: str
    device: str
    lead: str
    stream: str
    rate_hz: float
    start_index: int
    at: datetime
    gain_uv: float
    samples: str


class Beats(msgspec.Struct, frozen=True, tag="beats", kw_only=True):
    """Beats of a watched bed that were labelled since the last message: index of R, and label."""

    site: str
    device: str
    stream: str
    rate_hz: float
    beats: tuple[tuple[int, str], ...]


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """Each second: the server's time. Without one for 3 s, the page's connection is lost."""

    now: datetime


class PresenceMessage(msgspec.Struct, frozen=True, tag="presence"):
    """A lease changed at a site."""

    presence: PresenceShown


class AnswerMessage(msgspec.Struct, frozen=True, tag="answer", kw_only=True):
    """What became of an answer or a press. `outcome` is `sent` until the device has answered.

    Then it is the device's: `applied`, `already_applied`, or a refusal; `unanswered` if it has not
    answered within 10 s, `failed` if it could not be sent. Only `applied` means that it is so.
    """

    id: str
    site: str
    device: str
    alert_id: str
    action: str
    who: str
    outcome: str
    text: str


class SessionEnded(msgspec.Struct, frozen=True, tag="session_ended"):
    """The login has expired, or was ended: the connection is closed with code 4401."""

    reason: str


ToBrowser: TypeAlias = (
    Hello
    | Beds
    | BedMessage
    | BedGone
    | AlertMessage
    | HistoryMessage
    | Wave
    | Beats
    | Tick
    | Broker
    | PresenceMessage
    | AnswerMessage
    | SessionEnded
)


class Watch(msgspec.Struct, frozen=True, tag="watch", forbid_unknown_fields=True):
    """Send the live ECG of a bed from now on: these leads, or all of them without any."""

    site: str
    device: str
    leads: tuple[str, ...] = ()


class Unwatch(msgspec.Struct, frozen=True, tag="unwatch", forbid_unknown_fields=True):
    """Send it no longer."""

    site: str
    device: str


FromBrowser: TypeAlias = Watch | Unwatch


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /api/login`."""

    user: str
    password: str
    language: str = ""


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /api/answer`. `reason` belongs to `reject`, `silence_s` to `silence`."""

    site: str
    device: str
    alert_id: str
    action: Literal["accept", "reject", "give_back", "silence", "note"]
    reason: str = ""
    note: str = ""
    silence_s: float | None = None


class PresenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /api/presence`: a person says, by a press, that they are present at a site."""

    site: str
    action: Literal["take", "renew", "release"]
    role: str = "cardiologist"


class PushRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /api/push`: call this browser by web push; with empty keys: no longer."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2048)]
    p256dh: Annotated[str, Meta(max_length=200)] = ""
    auth: Annotated[str, Meta(max_length=100)] = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a POST: `id` comes back in an `answer` message."""

    id: str = ""
    outcome: str = "sent"
    until: datetime | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Any HTTP answer of 400 or more: what is wrong, in one sentence, and a word for programs."""

    error: str
    text: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the history: what happened to an alert, or what a person did at this console."""

    at: datetime
    site: str
    device: str
    alert_id: str
    event: str
    who: str | None = None
    text: str = ""
    alert: AlertView | None = None


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /api/alert/<site>/<device>/<alert_id>`: onset and present strip, and its history.

    `document` is the latest document as the device sent it.
    """

    alert: AlertView
    place: str
    patient: str | None
    open: bool
    onset_strip: StripView | None
    strip: StripView | None
    events: tuple[Event, ...]
    document: dict[str, object] | None


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /api/history?site=&device=&before=&limit=`: alerts, the newest first."""

    alerts: tuple[AlertView, ...]
    more: bool


class TrendPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A minute."""

    at: datetime
    heart_rate_bpm: float | None
    lowest_bpm: float | None
    highest_bpm: float | None
    ventricular_beats: int
    ventricular_per_hour: float | None
    af_percent: float | None
    pauses: int
    signal_s: float
    quality: float | None
    sdnn_ms: float | None
    st_change_mv: float | None


class TrendPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /api/trend/<site>/<device>?hours=`: the minutes known, the oldest first."""

    site: str
    device: str
    hours: float
    points: tuple[TrendPoint, ...]


ANSWERS = {action.value: action for action in Action}
