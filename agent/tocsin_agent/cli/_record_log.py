"""The results of one replayed recording: printed as they come, counted at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.runtime.stream import Beat, StreamReport

_PROGRESS_EVERY_S = 0.2


class RecordLog:
    """The beats and alerts of one recording.

    Parameters
    ----------
    uri : str
        The recording, as the user named it.
    as_json : bool
        Print alerts as JSON, one a line.
    show : bool
        Print alerts as they come.
    """

    def __init__(self, uri: str, as_json: bool, *, show: bool) -> None:
        self.uri = uri
        self.beats: list[Beat] = []
        self.alerts: list[Alert] = []
        self.rate_hz = 1.0
        self._as_json, self._show = as_json, show
        self._position = 0
        self._stream = ""
        self._began_s = time.perf_counter()
        self._progress_at_s = 0.0
        self._progress = sys.stderr.isatty()

    def note(self, report: StreamReport) -> None:
        """Keep a report, print its alerts, and update the progress line."""
        self.rate_hz, self._position = report.spec.rate_hz, report.position
        self._stream = report.spec.stream_id
        self.beats += report.report.beats
        self.alerts += report.alerts
        if report.alerts and self._show:
            self.clear_progress()
            for alert in report.alerts:
                self._print(alert)
        if self._progress and (now_s := time.perf_counter()) >= self._progress_at_s:
            self._progress_at_s = now_s + _PROGRESS_EVERY_S
            at_s = self._position / self.rate_hz
            speed = at_s / max(now_s - self._began_s, 1e-9)
            click.echo(f"\r\x1b[K{self.uri}: {minutes(at_s)}, {speed:,.0f}x", nl=False, err=True)

    @property
    def begun(self) -> bool:
        """True after the first samples of the recording."""
        return self._position > 0

    def _print(self, alert: Alert) -> None:
        from tocsin_agent.cli.common import alert_line
        from tocsin_agent.messages.alert import encode_alert

        if self._as_json:
            click.echo(encode_alert(alert))
        else:
            click.echo(alert_line(alert, self.rate_hz))
        sys.stdout.flush()

    def clear_progress(self) -> None:
        """Remove the progress line."""
        if self._progress:
            click.echo("\r\x1b[K", nl=False, err=True)

    def summary(self) -> dict[str, object]:
        """Return the counts; alerts are counted by their onsets."""
        from tocsin_agent.messages.alert import Phase

        elapsed_s = time.perf_counter() - self._began_s
        duration_s = self._position / self.rate_hz
        codes = Counter(alert.code for alert in self.alerts if alert.phase is Phase.ONSET)
        return {
            "record": self.uri,
            "stream": self._stream,
            "duration_s": duration_s,
            "elapsed_s": elapsed_s,
            "x_realtime": duration_s / elapsed_s,
            "beats": dict(sorted(Counter(beat.label for beat in self.beats).items())),
            "alerts": dict(codes.most_common()),
        }


def as_text(summary: Mapping[str, Any]) -> str:
    """Return the summary of a recording as text for a person."""
    beats, alerts = summary["beats"], summary["alerts"]
    labels = ", ".join(f"{label} {beats.get(label, 0)}" for label in "NSVFQ")
    codes = ", ".join(f"{code} {count}" for code, count in alerts.items())
    return (
        f"{summary['record']}: {minutes(summary['duration_s'])} of ECG in "
        f"{summary['elapsed_s']:.1f} s ({summary['x_realtime']:,.0f} x real time)\n"
        f"  {sum(beats.values())} beats: {labels}\n"
        f"  {sum(alerts.values())} alarms: {codes or 'none'}"
    )


def minutes(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    whole, rest = divmod(seconds, 60.0)
    return f"{int(whole)}:{rest:04.1f}"
