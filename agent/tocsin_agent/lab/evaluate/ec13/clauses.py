"""The clauses of the standards, each with the waveforms that judge it.

ANSI/AAMI EC13:2002 and IEC 60601-2-27:2011 are not free. `wording` states where a requirement was
checked: in the manuals of monitors that declare by clause (Mindray Trio and BeneHeart D60, GE B20,
Philips MP2), or from memory only. The figures of the standards (irregular rhythms, ventricular
tachycardia) are not copied: rhythms with the same names, rates and amplitudes are made here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np

from tocsin_agent.lab.evaluate.ec13.meter import SETTLED_S, Reading
from tocsin_agent.lab.evaluate.ec13.waveforms import (
    add_drift,
    add_pulses,
    add_qrs,
    add_sine,
    add_t_waves,
    add_wide,
    every,
    silence,
)
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_dsp.signal import FloatArray

MANUALS, MEMORY = "manuals", "memory"
LENGTH_S = SETTLED_S + 10.0
FIRST_S = 1.0
CHANGE_S = 20.0
"""A rhythm that changes does so after about so long."""
_FAST = frozenset({"ventricular_tachycardia", "ventricular_fibrillation", "extreme_tachycardia"})
_TALLEST_T_MV = 2.0


class Measured(NamedTuple):
    """What was measured, in words, and whether the requirement is met."""

    text: str
    met: bool


Meter: TypeAlias = Callable[[FloatArray, Limits | None], Reading]


class Clause(NamedTuple):
    """A clause.

    Attributes
    ----------
    name : str
    standard : str
        Its numbers in EC13:2002 and in IEC 60601-2-27:2011, where known.
    requirement : str
    wording : str
        `MANUALS` or `MEMORY`.
    judge : callable
        From a meter to what it measures.
    stated : bool
        The standard asks the manufacturer only to state this; the limit is tocsin's own.
    """

    name: str
    standard: str
    requirement: str
    wording: str
    judge: Callable[[Meter], Measured]
    stated: bool = False


def _beats(bpm: float, mv: float = 1.0, duration_s: float = 0.1) -> FloatArray:
    return add_qrs(silence(LENGTH_S), every(60 / bpm, FIRST_S, LENGTH_S), mv, duration_s)


def _span(rates: list[float | None]) -> str:
    shown = [bpm for bpm in rates if bpm is not None]
    if not shown:
        return "none"
    low, high = min(shown), max(shown)
    text = f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
    return text if len(shown) == len(rates) else f"{text}, sometimes none"


def _accurate(reading: Reading, bpm: float) -> bool:
    """Return whether every displayed rate is within 10 % or 5/min, whichever is greater."""
    off = max(0.1 * bpm, 5.0)
    return all(shown is not None and abs(shown - bpm) <= off for shown in reading.settled())


def _all_accurate(read: Meter, cases: list[tuple[str, float, FloatArray]]) -> Measured:
    """Judge waveforms by name and rate; report the ones that fail, or the displayed rates."""
    readings = [(name, bpm, read(x, None)) for name, bpm, x in cases]
    wrong = [
        f"{name}: {_span(r.settled())} for {bpm:g}"
        for name, bpm, r in readings
        if not _accurate(r, bpm)
    ]
    if wrong:
        return Measured(f"{len(wrong)} of {len(cases)} fail: {'; '.join(wrong)}", met=False)
    shown = sorted({_span(r.settled()) for _, _, r in readings}, key=lambda t: float(t.split()[0]))
    return Measured(f"{', '.join(shown)}/min in {len(cases)} waveforms", met=True)


def _none_counted(read: Meter, cases: list[tuple[str, FloatArray]]) -> Measured:
    wrong = [name for name, x in cases if read(x, None).beats]
    text = f"{len(wrong)} of {len(cases)} counted: {'; '.join(wrong)}"
    return Measured(text if wrong else f"no beat in {len(cases)} waveforms", met=not wrong)


def _range(read: Meter) -> Measured:
    rates = (30, 40, 60, 80, 120, 160, 200, 250)
    return _all_accurate(read, [(f"{bpm}/min", bpm, _beats(bpm)) for bpm in rates])


def _beyond(read: Meter) -> Measured:
    slow, fast = (
        read(_beats(20), None).settled(),
        read(_beats(300, duration_s=0.07), None).settled(),
    )
    met = all(bpm is None or bpm <= 30 for bpm in slow)
    met &= all(bpm is not None and bpm >= 200 for bpm in fast)
    return Measured(f"{_span(slow)} for 20, {_span(fast)} for 300", met)


def _qrs_range(read: Meter) -> Measured:
    sizes = product((0.5, -0.5, 5.0, -5.0), (0.04, 0.07, 0.1, 0.12))
    cases = [(f"{mv:g} mV x {1000 * s:g} ms", 80.0, _beats(80, mv, s)) for mv, s in sizes]
    return _all_accurate(read, cases)


def _faint(read: Meter) -> Measured:
    sizes = product((0.15, -0.15), (0.07, 0.1, 0.12))
    return _none_counted(
        read, [(f"{mv:g} mV x {1000 * s:g} ms", _beats(80, mv, s)) for mv, s in sizes]
    )


def _narrow(read: Meter) -> Measured:
    at = every(0.75, FIRST_S, LENGTH_S)
    cases = [(f"{mv:g} mV triangle", _beats(80, mv, 0.01)) for mv in (1.0, -1.0)]
    cases += [
        (f"{mv:g} mV rectangle", add_pulses(silence(LENGTH_S), at, mv, 0.01)) for mv in (1.0, -1.0)
    ]
    return _none_counted(read, cases)


def _line_noise(read: Meter) -> Measured:
    cases = [
        (f"{hz} Hz at {bpm}/min", bpm, add_sine(_beats(bpm, 0.5, 0.07), 0.1, hz))
        for hz, bpm in product((50, 60), (30.0, 80.0, 200.0))
    ]
    return _all_accurate(read, cases)


def _drift(read: Meter) -> Measured:
    return _all_accurate(read, [("drift", 80.0, add_drift(_beats(80, 0.5), 4.0, 0.1))])


def _tall_t(read: Meter) -> Measured:
    at = every(0.75, FIRST_S, LENGTH_S)
    tallest = 0.0
    for mv in np.arange(0.4, _TALLEST_T_MV + 0.05, 0.1).tolist():
        if not _accurate(read(add_t_waves(_beats(80), at, mv, 0.1), None), 80.0):
            break
        tallest = mv
    return Measured(f"rejected up to {tallest:.1f} mV", tallest > 1.15)


def _alternating(first_s: float, second_s: float, *, both_wide: bool = False) -> FloatArray:
    x = silence(LENGTH_S)
    at = every(first_s + second_s, FIRST_S, LENGTH_S)
    if both_wide:
        return add_wide(add_wide(x, at, 1.2), at + first_s, -1.2)
    add_t_waves(add_qrs(x, at, 1.0, 0.08), at, 0.2, 0.08)
    return add_wide(x, at + first_s, 1.5)


def _irregular(read: Meter) -> Measured:
    cases = [
        ("ventricular bigeminy", 80.0, _alternating(0.5, 1.0)),
        ("slow alternating bigeminy", 60.0, _alternating(0.7, 1.3)),
        ("rapid alternating bigeminy", 120.0, _alternating(0.42, 0.58)),
        ("bidirectional systoles", 90.0, _alternating(0.6, 0.733, both_wide=True)),
    ]
    readings = [(name, bpm, read(x, None)) for name, bpm, x in cases]
    text = ", ".join(f"{name} {_span(r.settled())} of {bpm:g}" for name, bpm, r in readings)
    return Measured(text, all(_accurate(r, bpm) for _, bpm, r in readings))


def _changing(before_bpm: float, after_bpm: float) -> tuple[FloatArray, float]:
    """Return a waveform and the time of the last beat at the first rate; 0 stands still."""
    x = silence(CHANGE_S + 25.0)
    times = every(60 / before_bpm, FIRST_S, CHANGE_S).tolist()
    change_s = times[-1]
    if after_bpm:
        times += every(60 / after_bpm, change_s + 60 / after_bpm, CHANGE_S + 24.0).tolist()
    return add_qrs(x, times, 1.0, 0.1), change_s


def _response(read: Meter) -> Measured:
    took = {}
    for bpm in (120.0, 40.0):
        x, change_s = _changing(80, bpm)
        off = max(0.1 * bpm, 5.0)
        settled = read(x, None).settles(bpm - off, bpm + off, change_s)
        took[f"80 to {bpm:g}/min"] = None if settled is None else settled - change_s
    return _delays(took)


def _delays(took: dict[str, float | None]) -> Measured:
    text = ", ".join(f"{name} {'never' if s is None else f'{s:.1f} s'}" for name, s in took.items())
    return Measured(text, all(s is not None and s <= 10.0 for s in took.values()))


def _rate_alarms(read: Meter) -> Measured:
    cases = (
        ("standstill", 0.0, "asystole", Limits()),
        ("low, 40 at a limit of 60", 40.0, "extreme_bradycardia", Limits(bradycardia_bpm=60)),
        ("high, 120 at a limit of 100", 120.0, "extreme_tachycardia", Limits(tachycardia_bpm=100)),
    )
    took = {}
    for name, bpm, code, limits in cases:
        x, change_s = _changing(80, bpm)
        alarm = read(x, limits).first(frozenset({code}), change_s)
        took[name] = None if alarm is None else alarm[1] - change_s
    return _delays(took)


def _tachycardia(read: Meter) -> Measured:
    took = {}
    for (mv, bpm), gain in product(((1.0, 206.0), (2.0, 195.0)), (0.5, 1.0, 2.0)):
        x = silence(CHANGE_S + 25.0)
        sinus = every(0.75, FIRST_S, CHANGE_S)
        add_t_waves(add_qrs(x, sinus, 1.0, 0.08), sinus, 0.2, 0.08)
        start = float(sinus[-1]) + 0.4
        add_wide(x, every(60 / bpm, start, CHANGE_S + 24.0), gain * mv)
        alarm = read(x, None).first(_FAST, start)
        took[f"{mv:g} mV x {gain:g}, {bpm:g}/min"] = None if alarm is None else alarm[1] - start
    return _delays(took)


_PULSES = tuple(product((2.0, -2.0, 20.0, -20.0, 700.0, -700.0), (0.0001, 0.0005, 0.002)))


def _captured(read: Meter) -> Measured:
    cases = []
    for mv, s in _PULSES:
        at = every(1.0, FIRST_S, LENGTH_S)
        x = add_pulses(silence(LENGTH_S), at, mv, s)
        add_t_waves(add_qrs(x, at + 0.08, 1.0, 0.1), at + 0.08, 0.2, 0.1)
        cases.append((f"{mv:g} mV x {1000 * s:g} ms", 60.0, x))
    return _all_accurate(read, cases)


def _ineffective(read: Meter) -> Measured:
    cases = []
    for mv, s in _PULSES:
        at = every(2.0, FIRST_S + 0.3, LENGTH_S)
        x = add_pulses(silence(LENGTH_S), every(0.75, FIRST_S, LENGTH_S), mv, s)
        add_t_waves(add_qrs(x, at, 1.0, 0.1), at, 0.2, 0.1)
        cases.append((f"{mv:g} mV x {1000 * s:g} ms", 30.0, x))
    return _all_accurate(read, cases)


def _lost_capture(read: Meter) -> Measured:
    took: dict[str, float | None] = {}
    for mv, s in _PULSES:
        at = every(1.0, FIRST_S, CHANGE_S + 20.0)
        x = add_pulses(silence(CHANGE_S + 20.0), at, mv, s)
        held = at[at < CHANGE_S] + 0.08
        add_t_waves(add_qrs(x, held, 1.0, 0.1), held, 0.2, 0.1)
        alarm = read(x, None).first(frozenset({"asystole"}), CHANGE_S)
        took[f"{mv:g} mV x {1000 * s:g} ms"] = None if alarm is None else alarm[1] - held[-1]
    late = {name: s for name, s in took.items() if s is None or s > 10.0}
    known = [s for s in took.values() if s is not None]
    if late or not known:
        return _delays(late)
    return Measured(f"asystole within {max(known):.1f} s in {len(took)} waveforms", met=True)


def _overshoot(read: Meter) -> Measured:
    at = every(0.75, FIRST_S, LENGTH_S)
    cases = [
        (
            f"{mv:g} mV, {1000 * recovery_s:g} ms",
            add_pulses(
                silence(LENGTH_S),
                at,
                mv,
                0.002,
                overshoot_mv=min(0.25 * abs(mv), 2.0),
                recovery_s=recovery_s,
            ),
        )
        for mv, recovery_s in product((2.0, -2.0, 100.0, -100.0), (0.004, 0.02, 0.1))
    ]
    return _none_counted(read, cases)


CLAUSES = (
    Clause(
        "range and accuracy of the rate", "EC13 4.2.7; IEC 201.12.1.101.15",
        "30 to 200/min (250 for neonates) within 10 % or 5/min", MEMORY, _range,
    ),
    Clause(
        "rates beyond the range", "EC13 4.2.7; IEC 201.12.1.101.15",
        "below it no rate above 30, up to 300/min no rate below 200", MEMORY, _beyond,
    ),
    Clause(
        "QRS that are counted", "EC13 4.2.6.1; IEC 201.12.1.101.15",
        "0.5 to 5 mV of 70 to 120 ms (40 ms for neonates)", MEMORY, _qrs_range,
    ),
    Clause(
        "faint waves", "EC13 4.2.6.1; IEC 201.12.1.101.15",
        "0.15 mV of 70 to 120 ms is not counted", MEMORY, _faint,
    ),
    Clause(
        "narrow waves", "EC13 4.2.6.1; IEC 201.12.1.101.15",
        "1 mV of 10 ms is not counted", MEMORY, _narrow,
    ),
    Clause(
        "line noise", "EC13 4.2.6.2", "0.1 mV peak to peak of 50 or 60 Hz: the rate holds",
        MEMORY, _line_noise,
    ),
    Clause(
        "drift", "EC13 4.2.6.3", "4 mV peak to peak, 0.1 Hz, triangular, QRS of 0.5 mV: the rate "
        "holds", MEMORY, _drift,
    ),
    Clause(
        "tall T waves", "EC13 4.1.2.1 c; IEC 201.12.1.101.17",
        "T waves up to 1.2 mV (180 ms, QT 350 ms) beside a QRS of 1 mV, 100 ms", MANUALS, _tall_t,
        stated=True,
    ),
    Clause(
        "irregular rhythms", "EC13 4.1.2.1 e; IEC 201.7.9.2.9.101 b 4",
        "the displayed rate after 20 s", MANUALS, _irregular, stated=True,
    ),
    Clause(
        "response to a change of rate", "EC13 4.1.2.1 f; IEC 201.7.9.2.9.101 b 5",
        "80 to 120 and 80 to 40/min: the new rate within 10 s", MANUALS, _response, stated=True,
    ),
    Clause(
        "time to alarm: standstill, low and high rate", "EC13 4.2.8; IEC 208.6.6.2",
        "within 10 s", MEMORY, _rate_alarms,
    ),
    Clause(
        "time to alarm: ventricular tachycardia", "EC13 4.1.2.1 g; IEC 201.7.9.2.9.101 b 6",
        "206 and 195/min, half, whole and double size: within 10 s", MANUALS, _tachycardia,
        stated=True,
    ),
    Clause(
        "pacing pulses with capture", "EC13 4.1.4.1; IEC 201.12.1.101.13",
        "2 to 700 mV of 0.1 to 2 ms, both signs: the rate is that of the QRS", MANUALS, _captured,
    ),
    Clause(
        "pacing pulses without capture", "EC13 4.1.4.1; IEC 201.12.1.101.13",
        "the same at 80/min, QRS at 30/min: the rate is that of the QRS", MANUALS, _ineffective,
    ),
    Clause(
        "loss of capture", "EC13 4.1.4.1, 4.2.8",
        "the same, the heart stands still: asystole within 10 s", MEMORY, _lost_capture,
    ),
    Clause(
        "pacing pulses with overshoot", "EC13 4.1.4.2; IEC 201.12.1.101.13",
        "overshoot up to 2 mV, 4 to 100 ms: not counted", MANUALS, _overshoot, stated=True,
    ),
)  # fmt: skip
NOT_JUDGED = (
    "What only an instrument can show: input impedance, common mode rejection, noise and range of "
    "the amplifier, protection and recovery from defibrillation, the display. The rejection of "
    "pacing pulses by their slew rate (EC13 4.1.4.3): the agent has samples of 500 Hz here, not "
    "the pulse."
)
