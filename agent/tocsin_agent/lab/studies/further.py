"""How often the further alarms are raised: `python -m tocsin_agent.lab.studies.further DATABASE`.

Runs the agent over a database (`--subset` as in `tocsin evaluate`) with every further alarm
switched on, and judges them by the same rules on the beats of the reference. `--rules` leaves out
the agent: the rules on the reference's beats alone, which records without a signal allow too.
Prints alarms in 24 hours: due by the reference, raised, and of these the false ones.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

from tocsin_agent.lab.ec57.annotations import Annotations, read_annotations, read_header
from tocsin_agent.lab.evaluate import select
from tocsin_agent.lab.evaluate.alarm_scoring import due_by_beats, judge_alarms
from tocsin_agent.lab.evaluate.databases import reference_for
from tocsin_agent.lab.evaluate.judge import run_agent
from tocsin_agent.monitor.rhythm.limits import FurtherAlarm, Limits

LIMITS = Limits(further_alarms=get_args(FurtherAlarm))


def by_rules(reference: Annotations, samples: int) -> Counter[tuple[str, str]]:
    """Count the alarms that the rules raise on the beats of a reference."""
    due = due_by_beats(reference, samples, LIMITS)
    return Counter({(code, "due"): len(due.get(code, ())) for code in LIMITS.further_alarms})


def by_agent(path: Path, reference: Annotations | None) -> tuple[Counter[tuple[str, str]], float]:
    """Count what the agent raises over a record; return that and the hours of the record."""
    _, alerts, rate_hz, samples = run_agent(str(path), None, limits=LIMITS)
    counts: Counter[tuple[str, str]] = Counter()
    onsets = {(alert.code, alert.alert_id) for alert in alerts}
    counts.update((code, "raised") for code, _ in onsets if code in LIMITS.further_alarms)
    if reference is not None and reference.has_beats():
        judged = judge_alarms(reference, alerts, samples, LIMITS)
        for code in LIMITS.further_alarms:
            counts[code, "due"] += judged[code].total - judged[code].false
            counts[code, "false"] += judged[code].false
    return counts, samples / rate_hz / 3600


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--subset")
    parser.add_argument("--rules", action="store_true")
    options = parser.parse_args()
    selection = select(options.database, subset=options.subset)
    counts: Counter[tuple[str, str]] = Counter()
    hours, records = 0.0, 0
    for record in selection.records:
        path = selection.folder / record
        annotator = reference_for(selection.database, path).annotator
        file = path.with_name(f"{record}.{annotator}")
        reference = None
        if file.is_file():
            reference = read_annotations(file, read_header(path.with_name(f"{record}.hea")))
        if options.rules:
            if reference is None or not reference.has_beats():
                continue
            samples = reference.n_samples or int(reference.sample[-1]) + 1
            counts += by_rules(reference, samples)
            hours += samples / reference.rate_hz / 3600
        else:
            found, lasts = by_agent(path, reference)
            counts += found
            hours += lasts
        records += 1
    sys.stdout.write(f"{options.database}: {records} records, {hours:.1f} h; alarms in 24 h\n")
    for code in LIMITS.further_alarms:
        figures = ", ".join(
            f"{kind} {24 * counts[code, kind] / hours:.1f}"
            for kind in ("due", "raised", "false")
            if any(counts[other, kind] for other in LIMITS.further_alarms)
        )
        sys.stdout.write(f"  {code:32} {figures}\n")


if __name__ == "__main__":
    main()
