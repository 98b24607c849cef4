"""Every alarm, one row each.

The rules of a row are in the module that its section names. What depends on an alarm's definition
reads this table: episodes, documents, annotation files, evaluation and `docs/alerts.md`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from tocsin_agent.messages.alert import Codes, Kind, Priority

UPDATE_S = {Priority.HIGH: 15, Priority.MEDIUM: 60, Priority.LOW: 120}
"""An episode that lasts is reported again after so many seconds at the earliest."""


class Support(NamedTuple):
    """A model that alarms rest on.

    `task` is its name, `label` the class whose probability an alert states, `lost` what is lost
    without it.
    """

    task: str
    label: str
    lost: str


BEATS = Support("beats", "V", "beats have no labels, and alarms that need them do not work")
VF = Support("vf", "VF", "ventricular fibrillation is not looked for")
AF = Support("af", "AF", "atrial fibrillation is not looked for")
VERIFIED = Support(
    "alarms", "VT", "ventricular alarms are raised by rule alone, without verification"
)
SUPPORTS = {support.task: support for support in (BEATS, VF, AF, VERIFIED)}
"""The models, by task."""
UNKNOWN_REASON = "check it and its link"
"""What the text of `source_lost` says where the source does not know the reason."""


class JudgedBy(StrEnum):
    """The part of a reference that defines when an alarm is due."""

    BEATS = "beats"  # the same rules, over the reference's beats
    AF_MARKS = "af_marks"  # its rhythm marks
    VF_MARKS = "vf_marks"  # its marks of ventricular flutter and fibrillation


class Judging(NamedTuple):
    """How the evaluation judges an alarm.

    `challenge_2015` names the alarm types of the PhysioNet/CinC Challenge 2015 that it answers.
    """

    by: JudgedBy
    challenge_2015: tuple[str, ...] = ()


class Alarm(NamedTuple):
    """A condition that raises an alarm.

    Attributes
    ----------
    code : str
    kind : Kind
    priority : Priority
        Of the condition; `last_lead` where it concerns the last lead that carried an ECG.
    hold_s : float
        Its episode ends when the condition has not been found for so long; 0 where only the source
        can end it.
    text : str
        The sentence of the alert, filled in with what was measured.
    definition : str
        When it is raised, filled in with the limits.
    implies : frozenset of str
        The conditions that it suppresses while it lasts.
    limits : tuple of str
        The fields of `Limits` that it is judged by.
    model : Support or None
        The model that it rests on.
    codes : Codes
        Public codes, where a public list gives one for this very condition: an extreme bradycardia
        is not certainly a sinus bradycardia, a ventricular tachycardia not certainly monomorphic.
    wfdb : str or None
        The rhythm that stands for it in a WFDB annotation file.
    judged_by : Judging or None
    last_lead : Priority or None
    to_do : str
        What a person does about it, for the reference page; the site's own protocol comes first.
    """

    code: str
    kind: Kind
    priority: Priority
    hold_s: float
    text: str
    definition: str
    implies: frozenset[str] = frozenset()
    limits: tuple[str, ...] = ()
    model: Support | None = None
    codes: Codes = Codes()
    wfdb: str | None = None
    judged_by: Judging | None = None
    last_lead: Priority | None = None
    to_do: str = ""


_PATIENT, _EQUIPMENT = Kind.PHYSIOLOGICAL, Kind.TECHNICAL
_HIGH, _MEDIUM, _LOW = Priority.HIGH, Priority.MEDIUM, Priority.LOW

_ROWS = (
    # -- monitor/rhythm/fibrillation.py ----------------------------------------------------------
    Alarm(
        "ventricular_fibrillation", _PATIENT, _HIGH, 10,
        text="Ventricular fibrillation or flutter.",
        definition="the waveform of ventricular fibrillation or flutter for {vf_s:g} s (most of "
        "its windows, not contradicted by verification); continues through what is not clearly "
        "another rhythm, and for up to 6 s without a readable signal",
        implies=frozenset(  # what rests on beats means nothing where there are none
            {
                "asystole", "ventricular_tachycardia", "extreme_bradycardia",
                "extreme_tachycardia", "pause", "atrial_fibrillation", "ventricular_run",
                "couplet", "bigeminy", "frequent_ventricular", "supraventricular_tachycardia",
                "accelerated_ventricular_rhythm", "supraventricular_run", "r_on_t", "irregular",
            }
        ),
        limits=("vf_s",),
        model=VF,
        codes=Codes(mdc=665376, snomed_ct="71908006"),
        wfdb="(VF",
        judged_by=Judging(JudgedBy.VF_MARKS, ("Ventricular_Flutter_Fib", "Tachycardia")),
        to_do="go to the patient at once. No response and no normal breathing: call the "
        "resuscitation team, begin CPR, defibrillate as soon as possible. Awake: it "
        "is an artefact or a lead; check the electrodes",
    ),
    # -- monitor/rhythm/silence.py ---------------------------------------------------------------
    Alarm(
        "asystole", _PATIENT, _HIGH, 3,
        text="Asystole: no heartbeat for {without_qrs_s:.0f} seconds.",
        definition="no QRS for {asystole_s:g} s, signal present and not fibrillating, and for 3 s "
        "of them no lead as steep as a QRS; before the first beat, 8 s of a resting baseline",
        implies=frozenset({"pause", "extreme_bradycardia"}),
        limits=("asystole_s",),
        codes=Codes(mdc=199684, snomed_ct="397829000"),
        wfdb="(ASYS",
        judged_by=Judging(JudgedBy.BEATS, ("Asystole", "Bradycardia")),
        to_do="go to the patient at once. No response: call the resuscitation team, begin "
        "CPR. Awake: check the electrodes and another lead",
    ),
    # -- monitor/rhythm/ventricular.py -----------------------------------------------------------
    Alarm(
        "ventricular_tachycardia", _PATIENT, _HIGH, 5,
        text="Ventricular tachycardia: {beats:.0f} ventricular beats in a row at "
        "{rate_bpm:.0f}/min.",
        definition="{vt_beats} or more ventricular beats in a row above {vt_bpm:g}/min; four in "
        "any lead, or a waveform like fibrillation, if a model verifies them; continues "
        "while shape and rate last, or for up to 30 s while the rate stays within 15 %",
        implies=frozenset({"ventricular_run", "couplet", "bigeminy", "extreme_tachycardia"}),
        limits=("vt_beats", "vt_bpm"),
        model=BEATS,
        codes=Codes(snomed_ct="25569003"),
        wfdb="(VT",
        judged_by=Judging(JudgedBy.BEATS, ("Ventricular_Tachycardia", "Tachycardia")),
        to_do="go to the patient at once. No pulse: as for ventricular fibrillation. With "
        "a pulse: call a physician now, record 12 leads",
    ),
    # -- monitor/rhythm/rate.py ------------------------------------------------------------------
    Alarm(
        "extreme_bradycardia", _PATIENT, _HIGH, 10,
        text="Extreme bradycardia: heart rate {rate_bpm:.0f}/min.",
        definition="mean and median rate of {bradycardia_beats} beats below "
        "{bradycardia_bpm:g}/min; a measured rate counts as below it up to 5 % above, the accuracy "
        "of a rate",
        limits=("bradycardia_bpm", "bradycardia_beats"),
        judged_by=Judging(JudgedBy.BEATS, ("Bradycardia",)),
        to_do="go to the patient at once. Drowsy, pale or with low blood pressure: call a "
        "physician now, have a pacemaker ready",
    ),
    Alarm(
        "extreme_tachycardia", _PATIENT, _HIGH, 10,
        text="Extreme tachycardia: heart rate {rate_bpm:.0f}/min.",
        definition="mean and median rate of {tachycardia_beats} beats above "
        "{tachycardia_bpm:g}/min",
        limits=("tachycardia_bpm", "tachycardia_beats"),
        judged_by=Judging(JudgedBy.BEATS, ("Tachycardia",)),
        to_do="go to the patient. Chest pain, short of breath or with low blood pressure: "
        "call a physician now. Record 12 leads",
    ),
    # -- monitor/rhythm/silence.py ---------------------------------------------------------------
    Alarm(
        "pause", _PATIENT, _MEDIUM, 10,
        text="Pause: more than {rr_s:.1f} seconds without a heartbeat.",
        definition="an RR interval above {pause_s:g} s, after a trusted beat",
        limits=("pause_s",),
        judged_by=Judging(JudgedBy.BEATS),
        to_do="see the patient: dizzy, or a faint? Then call a physician now; else show "
        "the strip to one today",
    ),
    # -- monitor/rhythm/atrial.py ----------------------------------------------------------------
    Alarm(
        "atrial_fibrillation", _PATIENT, _MEDIUM, 60,
        text="Atrial fibrillation: irregular, without P waves.",
        definition="an irregular rhythm without P waves for {af_s:g} s, once an episode",
        implies=frozenset({"irregular"}),
        limits=("af_s",),
        model=AF,
        codes=Codes(mdc=199736, snomed_ct="49436004"),
        wfdb="(AFIB",
        judged_by=Judging(JudgedBy.AF_MARKS),
        to_do="see the patient, record 12 leads, show them to a physician today; at once "
        "if the patient is unwell",
    ),
    # -- monitor/rhythm/supraventricular.py: off unless `limits.further_alarms` names it ---------
    Alarm(
        "supraventricular_tachycardia", _PATIENT, _MEDIUM, 10,
        text="Supraventricular tachycardia: {beats:.0f} beats in a row at {rate_bpm:.0f}/min.",
        definition="{svt_beats} or more beats of a run above {svt_bpm:g}/min that begins at once, "
        "regular and not ventricular; off by default",
        implies=frozenset({"supraventricular_run"}),
        limits=("svt_beats", "svt_bpm"),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="see the patient, record 12 leads; unwell or it lasts: call a physician now",
    ),
    # -- monitor/rhythm/ventricular.py -----------------------------------------------------------
    Alarm(
        "ventricular_run", _PATIENT, _MEDIUM, 30,
        text="Ventricular run: {beats:.0f} ventricular beats in a row at {rate_bpm:.0f}/min.",
        definition="3 or more ventricular beats in a row that are not a tachycardia",
        implies=frozenset({"couplet"}),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="see the patient; show the strip to a physician today, at once if it comes "
        "again",
    ),
    # -- monitor/rhythm/accelerated.py: off unless `limits.further_alarms` names it --------------
    Alarm(
        "accelerated_ventricular_rhythm", _PATIENT, _MEDIUM, 30,
        text="Accelerated ventricular rhythm at {rate_bpm:.0f}/min.",
        definition="{vt_beats} or more ventricular beats in a row at 40 to {vt_bpm:g}/min; off by "
        "default",
        implies=frozenset({"ventricular_run"}),
        limits=("vt_beats", "vt_bpm"),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="see the patient; show the strip to a physician today, at once if unwell",
    ),
    # -- monitor/rhythm/ventricular.py -----------------------------------------------------------
    Alarm(
        "couplet", _PATIENT, _LOW, 60,
        text="Ventricular couplet at {rate_bpm:.0f}/min.",
        definition="two ventricular beats in a row",
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip; no action by itself",
    ),
    Alarm(
        "bigeminy", _PATIENT, _LOW, 15,
        text="Ventricular bigeminy: every second beat is ventricular.",
        definition="{bigeminy_beats} ventricular beats, each after one other beat",
        limits=("bigeminy_beats",),
        model=BEATS,
        wfdb="(B",
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip; the pulse may be half of the heart rate. Show it to a "
        "physician if it lasts",
    ),
    Alarm(
        "frequent_ventricular", _PATIENT, _LOW, 60,
        text="Frequent ventricular beats: {ventricular_beats:.0f} within {within_s:.0f} seconds.",
        definition="{frequent_per_min} ventricular beats within a minute",
        limits=("frequent_per_min",),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip; show it to a physician if it is new",
    ),
    # -- supraventricular.py, r_on_t.py, irregular.py: off unless `limits.further_alarms` says so -
    Alarm(
        "supraventricular_run", _PATIENT, _LOW, 30,
        text="Supraventricular run: {beats:.0f} beats in a row at {rate_bpm:.0f}/min.",
        definition="3 or more supraventricular beats in a row above 100/min, or 5 beats of a run "
        "above {svt_bpm:g}/min that begins at once, regular and not ventricular; off by default",
        limits=("svt_bpm",),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip; show it to a physician if it is new",
    ),
    Alarm(
        "r_on_t", _PATIENT, _LOW, 60,
        text="R on T: a ventricular beat {coupling_s:.2f} s after the beat before it.",
        definition="a ventricular beat that begins within the QT interval (Bazett) of the beat "
        "before it; off by default",
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip; show it to a physician if it comes again",
    ),
    Alarm(
        "irregular", _PATIENT, _LOW, 60,
        text="Irregular rhythm: intervals differ by {difference_percent:.0f} % from beat to beat.",
        definition="for a minute half of the intervals between beats that are not ventricular "
        "differ by {irregular_percent:g} % or more from the one before; off by default",
        limits=("irregular_percent",),
        model=BEATS,
        judged_by=Judging(JudgedBy.BEATS),
        to_do="look at the strip: atrial fibrillation? Show it to a physician if it is new",
    ),
    # -- monitor/trend_rules.py: off unless `limits.trend_alarms` says otherwise -----------------
    Alarm(
        "trend_ectopy", _PATIENT, _LOW, 300,
        text="Ventricular ectopy is rising: {per_hour:.0f} an hour, {before:.0f} before.",
        definition="{trend_ectopy_per_hour:g} ventricular beats an hour or more over 15 minutes, "
        "and twice as many as in the hour before; off by default",
        limits=("trend_ectopy_per_hour",),
        model=BEATS,
        to_do="look at the trend; show it to a physician today",
    ),
    Alarm(
        "trend_atrial_fibrillation", _PATIENT, _LOW, 300,
        text="New burden of atrial fibrillation: {percent:.0f} % of the last hour.",
        definition="atrial fibrillation for {trend_af_percent:g} % of an hour or more, and none in "
        "the hour before; off by default",
        limits=("trend_af_percent",),
        model=AF,
        to_do="look at the trend and the strips; show them to a physician today",
    ),
    Alarm(
        "trend_st", _PATIENT, _LOW, 120,
        text="Experimental: ST in lead {lead} has changed by {change_mv:+.2f} mV.",
        definition="ST level {trend_st_mv:g} mV or more from the patient's baseline for a minute; "
        "experimental, off by default",
        limits=("trend_st_mv",),
        to_do="see the patient: chest pain? Record 12 leads; the change alone decides "
        "nothing",
    ),
    # -- monitor/rhythm/electrodes.py ------------------------------------------------------------
    Alarm(
        "lead_off", _EQUIPMENT, _LOW, 1,
        text="Lead {lead} is off ({state}): check the electrode.",
        definition="a lead missing, flat or loose for {lead_off_s:g} s",
        limits=("lead_off_s",),
        codes=Codes(mdc=196680),
        last_lead=_MEDIUM,
        to_do="put the electrode on again",
    ),
    Alarm(
        "saturation", _EQUIPMENT, _LOW, 1,
        text="Lead {lead} is at the converter's limit: check the electrode.",
        definition="a lead at the converter's limit for {lead_off_s:g} s",
        limits=("lead_off_s",),
        last_lead=_MEDIUM,
        to_do="check electrode and cable; then the device",
    ),
    Alarm(
        "signal_unusable", _EQUIPMENT, _MEDIUM, 10,
        text="The ECG cannot be read for noise: check the electrodes.",
        definition="every connected lead noisy for {unusable_s:g} s, or no trusted beat for "
        "{unusable_s:g} s",
        limits=("unusable_s",),
        to_do="see the patient, check the electrodes: until it ends no other alarm is "
        "certain",
    ),
    # -- monitor/technical.py --------------------------------------------------------------------
    Alarm(
        "source_lost", _EQUIPMENT, _MEDIUM, 0,
        text="No ECG arrives from the device: {reason}.",
        definition="no samples for `source.timeout_s` (1.5 s), or a gap of more than 10 s in a "
        "recording",
        to_do="see the patient, then check what the text names: until it ends no alarm "
        "can come",
    ),
    Alarm(
        "patient_call", _PATIENT, _MEDIUM, 60,
        text="The patient calls: the button of the device was pressed.",
        definition="the patient presses the button of the device; until 60 s after the last time",
        to_do="go to the patient",
    ),
    Alarm(
        "battery_low", _EQUIPMENT, _LOW, 0,
        text="The battery of the device is low ({percent:.0f} %): charge or replace it.",
        definition="the device reports a low battery, until it reports another",
        to_do="charge or change the battery",
    ),
    Alarm(
        "electrode_impedance", _EQUIPMENT, _LOW, 0,
        text="The electrode of lead {lead} conducts badly ({kiloohms:.0f} kiloohms): replace it.",
        definition="the device reports an electrode impedance above 500 kiloohms, until it reports "
        "less",
        to_do="clean the skin, change the electrode",
    ),
    Alarm(
        "device_fault", _EQUIPMENT, _MEDIUM, 0,
        text="The device reports a fault: {fault}.",
        definition="the device reports a fault of its own, one alarm a fault, until it reports "
        "that it is over",
        to_do="check the device; if it stays, change it",
    ),
    Alarm(
        "implausible_signal", _EQUIPMENT, _MEDIUM, 0,
        text="The samples of lead {lead} are no plausible ECG: {cause}.",
        definition="in the first 10 s of a stream a lead has an amplitude that no ECG has, or a "
        "clean ECG of a thousandth of one, or (after 6 s) no lead has more than a clean ECG of "
        "0.15 mV; until 10 s of it are plausible",
        to_do="tell whoever maintains the device: gain or units of its signal are wrong, "
        "and alarms may not be raised",
    ),
    Alarm(
        "clock_jump", _EQUIPMENT, _LOW, 10,
        text="The device's clock jumped back by {seconds:.1f} seconds.",
        definition="the device's clock jumped back more than 2 s",
        to_do="none; times of this device may be wrong, tell whoever maintains it",
    ),
    Alarm(
        "clock_step", _EQUIPMENT, _LOW, 10,
        text="The clock of the gateway was set by {seconds:+.1f} s: times in earlier alerts were "
        "wrong.",
        definition="the clock of the gateway is set by more than 2 s; open alerts are sent again "
        "with right times",
        to_do="none; times before it may be wrong, tell whoever maintains the device",
    ),
    Alarm(
        "model_failed", _EQUIPMENT, _MEDIUM, 60,
        text="The model {model} has failed ({reason}): {without}.",
        definition="a model is missing, refused or gives invalid output; one alarm a model, which "
        "states what is lost or what replaced it",
        to_do="tell whoever maintains the device; the text says which alarms do not work "
        "meanwhile",
    ),
    Alarm(
        "outbox_pressure", _EQUIPMENT, _MEDIUM, 60,
        text="{pending:.0f} alerts wait to be sent: check the uplink.",
        definition="more than 80 % of the outbox waits to be sent, or an alert was removed for "
        "lack of room; until less than half waits",
        to_do="tell whoever maintains the device: alerts arrive late",
    ),
    Alarm(
        "outbox_failed", _EQUIPMENT, _MEDIUM, 60,
        text="The outbox has failed ({reason}): {consequence}.",
        definition="the disk of the outbox is full, read-only or broken, or rows of the outbox "
        "were damaged or lost; one alarm a kind of failure, until a minute after it was last found",
        to_do="tell whoever maintains the device now: alerts may be lost",
    ),
    Alarm(
        "delivery_failed", _EQUIPMENT, _MEDIUM, 60,
        text="Alerts are not delivered as they should be ({reason}): {consequence}.",
        definition="the broker refuses or drops messages, another client uses the id of this one, "
        "messages flood the device, or no receiver confirms alerts of high priority; one alarm a "
        "kind of failure, until a minute after it was last found",
        to_do="tell whoever maintains the device: the alerts that it names do not arrive",
    ),
    Alarm(
        "monitor_stalled", _EQUIPMENT, _MEDIUM, 60,
        text="Monitoring was interrupted ({reason}): {consequence}.",
        definition="the monitoring or the delivery stood still, and tocsin was started again",
        to_do="see the patient: for the time that the text names nothing was monitored; "
        "tell whoever maintains the device",
    ),
    Alarm(
        "monitor_failed", _EQUIPMENT, _MEDIUM, 60,
        text="Monitoring of this patient failed ({reason}): {consequence}.",
        definition="the monitoring of one of several patients of a gateway ended with an error or "
        "stood still, and was started again",
        to_do="see the patient: until monitoring began again nothing was monitored; "
        "tell whoever maintains the device",
    ),
    Alarm(
        "configuration_refused", _EQUIPMENT, _LOW, 60,
        text="A change of the configuration does not apply ({reason}): {consequence}.",
        definition="a configuration that was to be loaded is invalid, or a change of it needs a "
        "restart; until a minute after it was put right",
        to_do="tell whoever maintains the device: the changed configuration does not "
        "apply",
    ),
    Alarm(
        "certificate_ends", _EQUIPMENT, _LOW, 60,
        text="The certificate of this device is not renewed ({reason}): {consequence}.",
        definition="a tenth of the time of the certificate for the broker is left, and the site "
        "has not renewed it; until a minute after it was renewed",
        to_do="tell whoever maintains the device: when the certificate ends, the broker refuses "
        "the device and no alert arrives",
    ),
)  # fmt: skip
ALARMS = {row.code: row for row in _ROWS}
"""Every alarm by its code, the gravest first."""
