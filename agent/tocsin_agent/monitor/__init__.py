"""The monitor: samples of one patient in, labelled beats and alert events out.

It opens no file, no socket and no thread and reads no clock. `PatientMonitor` (`.patient`) is the
whole job on one screen.

To find an alarm, look up its code in `.alarms.table`: its row states what it is and names the file
of its rule. To add one, add a row there, a rule in its family's file in `.rhythm` (or in
`.technical`), and a test beside that family's tests; documents, annotation, evaluation and
`docs/alerts.md` (`make docs`) follow the row.

| part | from | to |
|---|---|---|
| `.labels` | detected beats and windows | labelled beats and probabilities (`.timeline`) |
| `.rhythm` | the timeline and stream time | findings, one family of rules a file |
| `.alarms` | findings | episodes, then alert events |

The names below are loaded at their first use: the limits alone, as the configuration needs them,
load no model runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin_agent.monitor.alarms.event import AlertEvent
    from tocsin_agent.monitor.alarms.table import ALARMS, Alarm
    from tocsin_agent.monitor.patient import PatientMonitor
    from tocsin_agent.monitor.report import LabelledBeat, Report
    from tocsin_agent.monitor.rhythm.limits import Limits

__all__ = [
    "ALARMS",
    "Alarm",
    "AlertEvent",
    "LabelledBeat",
    "Limits",
    "PatientMonitor",
    "Report",
]
_HOME = {
    "ALARMS": "alarms.table",
    "Alarm": "alarms.table",
    "AlertEvent": "alarms.event",
    "LabelledBeat": "report",
    "Limits": "rhythm.limits",
    "PatientMonitor": "patient",
    "Report": "report",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
