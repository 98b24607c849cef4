"""What is wrong with the stream of a device, for the engineer who has to fix it.

Receives the stream for a while and checks the protocol (hello, CRC, gaps, rate), then the ECG
itself (gain, polarity, swapped leads, mains, leads that are off). The limits below are those of a
plausible surface ECG, not of a diagnosis: a result says what to look at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from tocsin_agent.errors import SourceError, SourceFault
from tocsin_agent.sources import wiring
from tocsin_agent.sources.devices.live import Piece
from tocsin_agent.sources.devices.protocol.packets import Flag, Hello
from tocsin_agent.sources.devices.protocol.session import Session
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics
from tocsin_agent.sources.devices.wires.base import Wire
from tocsin_dsp.signal import FloatArray, StreamSpec

MIN_SECONDS = 10.0
_RATE_WRONG, _RATE_DRIFT = 0.002, 200e-6  # a wrong divider; a poor crystal
_CORRUPT_MANY = 0.01
_MAINS_SHARE = 0.3  # of the amplitude of the QRS


class Level(StrEnum):
    """How much a result matters."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check.

    Parameters
    ----------
    what : str
        A short name, for programs.
    level : Level
        Whether something must be fixed.
    text : str
        One or two sentences: the observation and its likely cause.
    value : float or None
        The figure behind it.
    """

    what: str
    level: Level
    text: str
    value: float | None = None


class LinkReport(msgspec.Struct, frozen=True):
    """All results for one device, for a person and for a file."""

    device: str | None
    firmware: str | None
    stream: str | None
    leads: tuple[str, ...]
    rate_hz: float | None
    seconds: float
    findings: tuple[CheckResult, ...]
    statistics: dict[str, object]
    schema: str = "tocsin/link-check/v1"

    @property
    def is_good(self) -> bool:
        """True if nothing must be fixed."""
        return all(finding.level is not Level.WRONG for finding in self.findings)


@dataclass
class Received:
    """What a device sent during a check.

    Parameters
    ----------
    hello : Hello or None
        The last one.
    statistics : LinkStatistics
        Of the link.
    pieces : list of Piece
        All samples.
    arrivals : list of (int, float)
        Stop index of each piece of the last stream, and its arrival in monotonic seconds.
    seconds : float
        Duration of the check.
    live : bool
        False for a capture, whose arrival times mean nothing.
    """

    hello: Hello | None
    statistics: LinkStatistics
    pieces: list[Piece] = field(default_factory=list)
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    live: bool = True

    def add(self, pieces: Iterable[Piece], now_s: float) -> None:
        """Take pieces that arrived at `now_s`."""
        for piece in pieces:
            if self.pieces and self.pieces[-1].spec != piece.spec:
                self.arrivals.clear()
            self.pieces.append(piece)
            self.arrivals.append((piece.stop_index, now_s))


def receive_live(
    wire: Wire, seconds: float, stop: threading.Event, copy: BinaryIO | None = None
) -> Received:
    """Talk to a device for a while.

    Parameters
    ----------
    wire : Wire
        Not yet open; closed again on return.
    seconds : float
        How long.
    stop : threading.Event
        Ends it early.
    copy : binary file, optional
        Gets every byte that arrives.

    Raises
    ------
    SourceError
        If the wire cannot be opened.
    """
    session = Session(ordered=wire.ordered)
    received = Received(None, session.statistics)
    began_s = time.monotonic()
    wire.open()
    try:
        while (left_s := began_s + seconds - time.monotonic()) > 0 and not stop.is_set():
            try:
                data = wire.read(min(left_s, 0.05))
            except SourceError as error:
                if error.reason is not SourceFault.LOST:
                    raise
                wire.open()
                continue
            if copy is not None:
                copy.write(data)
            now_s = time.monotonic()
            received.add(session.feed(data, now_s), now_s)
            wire.write(session.outgoing(now_s))
    finally:
        wire.close()
    received.hello = session.hello
    received.seconds = time.monotonic() - began_s
    return received


def receive_capture(path: Path) -> Received:
    """Read what a device sent from a file.

    Raises
    ------
    SourceError
        `NOT_FOUND` if the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(SourceFault.NOT_FOUND, f"{path}: {error.strerror}") from error
    session = Session()
    received = Received(None, session.statistics, live=False)
    received.add(session.feed(data, 0.0) + session.finish(0.0), 0.0)
    received.hello = session.hello
    if session.hello is not None:
        received.seconds = session.statistics.samples * 1000 / session.hello.rate_mhz
    return received


def judge(received: Received) -> LinkReport:
    """Check everything that was received."""
    hello = received.hello
    findings = _protocol(received)
    if hello is not None and received.pieces:
        spec = received.pieces[-1].spec
        pieces = [piece for piece in received.pieces if piece.spec == spec]
        findings += _stream(received, hello)
        findings += _ecg(spec, pieces)
    spec_ = hello.spec() if hello is not None else None
    return LinkReport(
        device=hello.device if hello is not None else None,
        firmware=hello.firmware if hello is not None else None,
        stream=spec_.stream_id if spec_ is not None else None,
        leads=spec_.leads if spec_ is not None else (),
        rate_hz=spec_.rate_hz if spec_ is not None else None,
        seconds=round(received.seconds, 1),
        findings=tuple(findings),
        statistics=msgspec.to_builtins(received.statistics),
    )


# -- the protocol -----------------------------------------------------------------------------


def _protocol(received: Received) -> list[CheckResult]:
    counts, out = received.statistics, []
    if not counts.bytes:
        return [_wrong("silence", "No byte was received: check cable, port and power.")]
    if not counts.frames or counts.frames == counts.corrupt:
        out.append(
            _wrong(
                "frames",
                f"{counts.bytes} bytes were received, but no intact packet: check the baud rate "
                "first, then COBS and CRC-32C against firmware-bridge/vectors.",
            )
        )
        return out
    if counts.last_violation:
        out.append(
            _wrong("protocol", f"The device violates the protocol: {counts.last_violation}.")
        )
    if received.hello is None:
        out.append(
            _wrong(
                "hello",
                "No hello was received, so samples cannot be used. Send one when the link opens, "
                "when asked (type 0x81), and every 10 s if the device cannot receive.",
            )
        )
    elif not received.pieces:
        out.append(_wrong("samples", "The device sends a hello, but no samples."))
    out.append(_corruption(counts))
    if counts.restarts:
        out.append(
            _wrong(
                "restarts",
                f"The device restarted {counts.restarts} times: check its watchdog and its supply.",
                counts.restarts,
            )
        )
    return out


def _corruption(counts: LinkStatistics) -> CheckResult:
    share = counts.corrupt / max(counts.frames, 1)
    text = f"{counts.corrupt} of {counts.frames} frames were corrupt ({share:.2%})"
    if counts.corrupt <= 1:  # the link may be opened in the middle of a frame
        return CheckResult("corruption", Level.OK, f"{text}.", share)
    cause = "cable, ground, baud rate, or bytes lost by the receiving UART (flow control, DMA)"
    level = Level.WRONG if share > _CORRUPT_MANY else Level.NOTE
    return CheckResult("corruption", level, f"{text}: {cause}.", share)


def _wrong(what: str, text: str, value: float | None = None) -> CheckResult:
    return CheckResult(what, Level.WRONG, text, value)


# -- the stream -------------------------------------------------------------------------------


def _stream(received: Received, hello: Hello) -> list[CheckResult]:
    out = [_gaps(received.statistics, hello)]
    if received.live:
        out.append(_rate(received, hello))
    for lead, samples in sorted(received.statistics.off_samples.items()):
        share = samples / max(received.statistics.samples, 1)
        text = f"Lead {lead}: the device reports its electrode off {share:.0%} of the time."
        out.append(CheckResult(f"off {lead}", Level.NOTE, text, share))
    if hello.lowest >= hello.highest:
        text = "The hello does not state the range of the converter: saturation is not detected."
        out.append(CheckResult("range", Level.NOTE, text))
    if not hello.flags & Flag.RESENDS:
        text = "The device does not resend: a packet lost on the cable is lost."
        out.append(CheckResult("resend", Level.NOTE, text))
    if hello.device and not hello.session:
        text = "The session is 0: give each start its own number (a counter in flash, or random)."
        out.append(CheckResult("session", Level.NOTE, text))
    return out


def _gaps(counts: LinkStatistics, hello: Hello) -> CheckResult:
    share = counts.missing_samples / max(counts.samples + counts.missing_samples, 1)
    if not counts.gaps:
        late = f"; {counts.recovered_packets} packets came late or were sent again"
        text = "No sample is missing" + (late if counts.recovered_packets else "")
        return CheckResult("gaps", Level.OK, f"{text}.", 0.0)
    seconds = counts.missing_samples / (hello.rate_mhz / 1000)
    text = f"{counts.gaps} gaps, {seconds:.2f} s in all ({share:.2%})"
    if counts.missing_packets < counts.gaps:
        cause = "no packet is missing before some of them, so the device itself loses samples: its "
        cause += "ring buffer is too small, or its main loop is blocked"
    else:
        cause = f"{counts.missing_packets} packets never arrived"
    return _wrong("gaps", f"{text}: {cause}.", share)


def _rate(received: Received, hello: Hello) -> CheckResult:
    stated_hz = hello.rate_mhz / 1000
    index = np.array([stop for stop, _ in received.arrivals], dtype=np.float64)
    at_s = np.array([when for _, when in received.arrivals])
    if len(index) < 10 or at_s[-1] - at_s[0] < MIN_SECONDS / 2:
        return CheckResult("rate", Level.NOTE, "Too short to measure the sampling rate.")
    at_s, index = at_s - at_s.mean(), index - index.mean()
    slope = float((at_s * index).sum() / (at_s * at_s).sum())
    jitter_s = float(np.std(index / slope - at_s))
    off = slope / stated_hz - 1.0
    # the uncertainty of the slope, from the scatter of the arrivals about the line
    sure = 4.0 * jitter_s / (at_s[-1] - at_s[0])
    text = f"The sampling rate is {slope:.3f} Hz, {stated_hz:g} Hz stated ({off * 1e6:+.0f} ppm"
    text += f", measured to {sure * 1e6:.0f} ppm)"
    if abs(off) > _RATE_WRONG + sure:
        cause = "the rate register or the divider does not match the hello"
        return _wrong("rate", f"{text}: {cause}.", slope)
    if abs(off) > _RATE_DRIFT + sure:
        return CheckResult(
            "rate", Level.NOTE, f"{text}: a poor crystal or an RC oscillator.", slope
        )
    return CheckResult("rate", Level.OK, f"{text}.", slope)


# -- the ECG ----------------------------------------------------------------------------------


def _ecg(spec: StreamSpec, pieces: list[Piece]) -> list[CheckResult]:
    longest = max(_stretches(pieces), key=len)
    if len(longest) < MIN_SECONDS * spec.rate_hz:
        text = f"No {MIN_SECONDS:g} s without a gap: the ECG itself was not judged."
        return [CheckResult("ecg", Level.NOTE, text)]
    out: list[CheckResult] = []
    shapes: dict[str, FloatArray] = {}
    for column, lead in enumerate(spec.leads):
        samples = longest[:, column]
        missing = np.isnan(samples)
        if missing.mean() > 0.5:
            out.append(CheckResult(f"missing {lead}", Level.NOTE, f"Lead {lead} is missing.", None))
            continue
        shapes[lead] = np.where(missing, float(np.nanmedian(samples)), samples)
    beats = {lead: wiring.typical_beat(shapes[lead], spec.rate_hz) for lead in shapes}
    heights = [beat.height_mv for beat in beats.values() if beat is not None]
    least = min(wiring.LEAST_MV, max(heights, default=0.0))  # one small lead is usual
    for lead, samples in shapes.items():
        out += _lead(spec, lead, samples, beats[lead], least)
    seen = {lead: beat for lead, beat in beats.items() if beat is not None}
    for mistake in wiring.polarity(seen):
        name = "arms" if mistake.what == "arms" else f"polarity {mistake.lead}"
        out.append(_wrong(name, f"Lead {mistake.lead} {mistake.text}.", seen[mistake.lead].upright))
    return out + _swapped(shapes)


def _stretches(pieces: list[Piece]) -> list[FloatArray]:
    """Join what is contiguous."""
    out: list[list[FloatArray]] = []
    end = None
    for piece in pieces:
        if piece.start_index != end:
            out.append([])
        out[-1].append(piece.samples_mv)
        end = piece.start_index + len(piece.samples_mv)
    return [np.concatenate(parts) for parts in out]


def _lead(
    spec: StreamSpec, lead: str, samples: FloatArray, beat: wiring.Beat | None, least_mv: float
) -> list[CheckResult]:
    if spec.range_mv is not None:
        low, high = spec.range_mv
        share = float(np.mean((samples <= low) | (samples >= high)))
        if share > 0.01:
            text = f"Lead {lead} sits at the end of the converter's range {share:.0%} of the time: "
            text += "too much gain, or an offset of the electrode."
            return [_wrong(f"saturation {lead}", text, share)]
    if np.ptp(np.percentile(samples, (1.0, 99.0))) == 0.0:
        text = f"Lead {lead} is flat: its input is shorted, off, or not sampled."
        return [_wrong(f"flat {lead}", text)]
    hum = max((wiring.hum_mv(samples, at, spec.rate_hz), at) for at in wiring.MAINS_HZ)
    if beat is None:
        text = f"No heartbeats are found in lead {lead}, so that its gain cannot be judged."
        return [CheckResult(f"beats {lead}", Level.NOTE, text), *_hum(lead, *hum, None)]
    return [_gain(lead, beat.height_mv, least_mv), *_hum(lead, *hum, beat.height_mv)]


def _gain(lead: str, height_mv: float, least_mv: float) -> CheckResult:
    text = f"Lead {lead}: QRS of {height_mv:.3g} mV"
    if wiring.LEAST_MV <= height_mv <= wiring.MOST_MV:
        return CheckResult(f"gain {lead}", Level.OK, f"{text}, plausible.", height_mv)
    if height_mv < wiring.LEAST_MV and least_mv >= wiring.LEAST_MV:
        return CheckResult(f"gain {lead}", Level.NOTE, f"{text}: small, beside others.", height_mv)
    way = "small" if height_mv < wiring.LEAST_MV else "large"
    cause = "check step (pV a count) in the hello: reference, PGA gain, and 16 against 24 bits"
    return _wrong(f"gain {lead}", f"{text} is too {way}; {cause}.", height_mv)


def _hum(lead: str, hum_mv: float, mains_hz: float, height_mv: float | None) -> list[CheckResult]:
    if hum_mv < 0.03:
        return []
    text = f"Lead {lead}: {hum_mv:.2g} mV of {mains_hz:g} Hz hum (peak to peak): right-leg drive, "
    text += "cable shield, electrode contact."
    level = Level.NOTE if height_mv and hum_mv < _MAINS_SHARE * height_mv else Level.WRONG
    return [CheckResult(f"mains {lead}", level, text, hum_mv)]


def _swapped(shapes: dict[str, FloatArray]) -> list[CheckResult]:
    """Hold the limb leads to Einthoven's law."""
    fit = wiring.einthoven({wiring.canonical(lead): values for lead, values in shapes.items()})
    if fit is None:
        return []
    misfit, guess = fit
    if misfit <= wiring.EINTHOVEN:
        return [CheckResult("einthoven", Level.OK, "II = I + III holds.", misfit)]
    if not guess:
        text = "II is not I + III: the leads are not sampled or filtered as one, or not wired so."
        return [CheckResult("einthoven", Level.NOTE, text, misfit)]
    return [_wrong("einthoven", f"II is not I + III: {guess}. Check the wiring.", misfit)]
