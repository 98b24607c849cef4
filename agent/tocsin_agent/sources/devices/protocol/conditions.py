"""The alarms that events of a device raise and end: its button, battery, electrodes, faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tocsin_agent.messages.printable import clean
from tocsin_agent.sources.base import DeviceEvent
from tocsin_agent.sources.devices.protocol.packets import Event, EventKind, Lead, PacketError
from tocsin_agent.sources.devices.protocol.statistics import LinkStatistics

_BAD_OHM = 500_000  # a dry or loose electrode; one that holds well has less than 100,000


def conditions(
    event: Event, leads: Sequence[Lead], statistics: LinkStatistics
) -> Iterator[DeviceEvent]:
    """Yield what an event raises or ends, and count it.

    Parameters
    ----------
    event : Event
        As it arrived.
    leads : sequence of Lead
        Those of the hello.
    statistics : LinkStatistics
        Holds the last battery and impedances, for the health message.

    Raises
    ------
    PacketError
        If the fields of the event are incomplete.
    """
    if event.kind == EventKind.BUTTON:
        statistics.button_pressed += 1
        yield DeviceEvent("patient_call", "the patient pressed the button", "", {}, over=False)
    elif event.kind == EventKind.BATTERY:
        percent, millivolts, state = event.battery()
        low = bool(state & 2)
        statistics.battery_percent, statistics.battery_mv = percent, millivolts
        statistics.battery_low = low
        rule = "the device reports a low battery" if low else "the device reports its battery"
        measured: dict[str, float | str] = {
            "percent": float(percent),
            "millivolts": float(millivolts),
        }
        yield DeviceEvent("battery_low", rule, "", measured, over=not low)
    elif event.kind == EventKind.FAULT:
        present, code, name = event.fault()
        fault = f"{clean(name, 64)} ({code})" if name else f"number {code}"
        if present:
            statistics.faults[str(code)] = fault
        else:
            statistics.faults.pop(str(code), None)
        rule = "the device reports a fault" if present else "the device reports that it is over"
        stated: dict[str, float | str] = {"fault": fault, "code": float(code)}
        yield DeviceEvent("device_fault", rule, str(code), stated, over=not present)
    elif event.kind == EventKind.IMPEDANCE:
        for number, ohm in event.impedances():
            if number >= len(leads):
                raise PacketError(f"event: the impedance of lead {number}, of {len(leads)}")
            name = leads[number].name
            statistics.electrode_ohm[name] = ohm
            bad = ohm > _BAD_OHM
            rule = f"the device reports {ohm} ohms"
            figures: dict[str, float | str] = {"lead": name, "kiloohms": ohm / 1000}
            yield DeviceEvent("electrode_impedance", rule, name, figures, over=not bad)
