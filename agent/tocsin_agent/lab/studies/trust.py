"""Alarms with and without beat trust: `python -m tocsin_agent.lab.studies.trust [WHICH]`.

The alarms with and without `tocsin_dsp.leads.trust` are compared with the alarm rules applied to
the reference's own beats. WHICH is `judged`, noise mixed into 118 and 119 of mitdb, which no choice
was made on; `chosen`, noise mixed into eight records of DS1, on which the constants were chosen; or
`clean`, DS1 without noise.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from unittest.mock import patch

from tocsin_agent.lab.ec57 import noise as mixer
from tocsin_agent.lab.ec57.annotations import Annotations, read_annotations, read_header
from tocsin_agent.lab.evaluate.alarm_scoring import judge_alarms
from tocsin_agent.lab.evaluate.stress import normal_beats
from tocsin_agent.monitor import PatientMonitor
from tocsin_agent.monitor.alarms.event import AlertEvent
from tocsin_agent.sources.files.wfdb_record import find_record
from tocsin_dsp.leads.trust import BeatTrust, LeadTrust, Trust
from tocsin_dsp.signal import SampleBlock, StreamSpec
from tocsin_models import load_models

CLEAN = "101 106 108 109 112 114 115 116 122 124 203 205 207 208 209 215 220 223 230 118 119"
CHOSEN, JUDGED = "106 114 116 203 205 208 215 223", "118 119"
NOISES, SNRS_DB = ("em", "ma"), (12, 6, 0, -6)


def records(which: str) -> Iterator[tuple[mixer.DigitalRecord, Annotations]]:
    """Yield each record or mixture, and its reference."""
    names = {"clean": CLEAN, "chosen": CHOSEN, "judged": JUDGED}[which]
    for name in names.split():
        clean = mixer.read_record(f"mitdb/{name}")
        path = find_record(f"mitdb/{name}")[0]
        reference = read_annotations(
            path.with_suffix(".atr"), read_header(path.with_suffix(".hea"))
        )
        if which == "clean":
            yield clean, reference
            continue
        for noise in NOISES:
            of_noise = mixer.read_record(f"nstdb/{noise}")
            calibration = mixer.calibrate(clean, of_noise, normal_beats(reference))
            for snr_db in SNRS_DB:
                yield mixer.mix(clean, of_noise, snr_db, calibration).record, reference


def alerts_of(record: mixer.DigitalRecord) -> list[AlertEvent]:
    """Return the alerts that the monitor raises on a record."""
    spec = StreamSpec(record.name, record.rate_hz, tuple(lead.name for lead in record.leads))
    monitor = PatientMonitor(spec, models=load_models())
    alerts = monitor.push(SampleBlock(spec, 0, record.millivolts())).alerts
    return alerts + monitor.finish().alerts


def main() -> None:
    """Print true, false and missed alarms, without and with."""
    which = [*sys.argv[1:], "judged"][0]
    counts: dict[str, Counter[str]] = {}
    for record, reference in records(which):
        for name in ("without", "with"):
            if name == "with":
                alerts = alerts_of(record)
            else:
                with patch.object(LeadTrust, "judge", lambda *_: BeatTrust(Trust.FULL, 1.0)):
                    alerts = alerts_of(record)
            for alert in alerts:
                if alert.code == "signal_unusable" and alert.sequence == 1:
                    counts.setdefault(alert.code, Counter())[f"{name} false"] += 1
            judged = judge_alarms(reference, alerts, len(record.samples))
            for code, count in judged.items():
                of_code = counts.setdefault(code, Counter())
                for field in ("true", "false", "missed"):
                    of_code[f"{name} {field}"] += getattr(count, field)
    for code, of_code in sorted(counts.items()):
        line = "   ".join(
            f"{name}: {of_code[f'{name} true']:4} true {of_code[f'{name} false']:4} false "
            f"{of_code[f'{name} missed']:4} missed"
            for name in ("without", "with")
        )
        sys.stdout.write(f"{code:26}{line}\n")


if __name__ == "__main__":
    main()
