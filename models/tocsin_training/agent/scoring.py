"""The labels of the whole agent, scored like those of the beat model alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import wfdb

from tocsin_agent.lab.evaluate.judge import named
from tocsin_agent.monitor import LabelledBeat, PatientMonitor
from tocsin_agent.monitor.labels.corrections import ALL_RULES, LabelRules
from tocsin_agent.sources.opening import open_source
from tocsin_models import LABELS, Models
from tocsin_training.beats.scoring import Counts, score_record
from tocsin_training.data.beats import Beats, flutters, record_path

RULES = LabelRules._fields
"""The names of the rules between the model and the label."""


def without(rule: str) -> LabelRules:
    """Return all rules but one."""
    return ALL_RULES._replace(**{rule: False})


def labelled(
    database: str,
    record: str,
    models: Models,
    *,
    all_leads: bool = False,
    rules: LabelRules = ALL_RULES,
) -> list[LabelledBeat]:
    """Return the beats that a monitor labels in the first lead of a record, or in all leads."""
    path = record_path(database, record)
    leads = None if all_leads else named(path, ("0",))
    with open_source(path, block_s=3600.0, leads=leads) as source:
        block = source.read(0.0)
        assert block is not None
        monitor = PatientMonitor(source.spec, models=models, rules=rules)
    return monitor.push(block).beats + monitor.finish().beats


def counted(beats: Sequence[LabelledBeat], reference: Beats, database: str) -> Counts:
    """Compare the beats of a monitor with the reference of the record."""
    path = record_path(database, reference.record)
    rate = float(wfdb.rdheader(path).fs)
    seconds = np.array([beat.r_index for beat in beats]) / rate
    in_vf = flutters(wfdb.rdann(path, "atr"), rate, seconds)
    labels = np.array([LABELS.index(beat.label) for beat in beats], np.int64)
    return score_record(reference._replace(seconds=seconds, in_vf=in_vf), labels)
