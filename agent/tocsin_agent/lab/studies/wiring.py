"""How often wiring mistakes are named: `python -m tocsin_agent.lab.studies.wiring ludb mitdb`.

The first seconds of each record are judged as they are, and with each mistake made on them: is it
named, and are the right ones called so? The limits were chosen on ludb; mitdb took no part.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tocsin_agent.lab.evaluate.databases import database_folder
from tocsin_agent.sources.files.wfdb_record import WfdbSource
from tocsin_agent.sources.plausibility import first_seconds, suspicions
from tocsin_agent.sources.wiring import canonical
from tocsin_dsp.signal import FloatArray, StreamSpec

SECONDS = 10.0
UPRIGHT = ("I", "II", "V5", "V6", "MLII")


class Case(NamedTuple):
    """The leads that a mistake concerns, before and after it, and what should be named.

    `words` are of the finding's text, `lead` is the lead that it should name; empty for any.
    """

    mistake: str
    spec: StreamSpec
    right: FloatArray
    wrong: FloatArray
    words: tuple[str, ...]
    lead: str = ""
    rate_factor: float = 1.0


def cases(spec: StreamSpec, samples: FloatArray) -> Iterator[Case]:
    """Yield each mistake made on a record."""
    named = {canonical(lead): column for column, lead in enumerate(spec.leads)}
    few = _only(spec, samples, list(range(min(3, len(spec.leads)))))
    one = _only(spec, samples, [0])
    for name, column in named.items():
        if name in UPRIGHT:
            lead, x = _only(spec, samples, [column])
            yield Case("inverted", lead, x, -x, ("inverted",))
    if {"I", "II", "III", "V6"} <= named.keys():
        limbs, x = _only(spec, samples, [named[name] for name in ("I", "II", "III", "V6")])
        swapped = x[:, [0, 2, 1, 3]] * [-1, 1, 1, 1]
        yield Case("arms swapped", limbs, x, swapped, ("arm electrodes",), limbs.leads[0])
    for factor in (10.0, 0.1, 1000.0):
        yield Case(f"gain x {factor:g}", *few, few[1] * factor, ("gain", "read as mV"))
    lead, x = one
    at_s = np.arange(len(x))[:, None] / spec.rate_hz
    hum = x + 3.0 * np.sin(2 * np.pi * 50.0 * at_s)
    noise = np.random.default_rng(0).normal(0.0, 0.002, x.shape)
    yield Case("hum of 50 Hz", lead, x, hum, ("hum of 50 Hz",))
    yield Case("unplugged, flat", lead, x, np.zeros_like(x), ("is flat",))
    yield Case("unplugged, noise", lead, x, noise, ("open input",))
    yield Case("rate x 0.72, with hum", lead, x, hum, ("if the rate is",), "", 0.72)


def _only(
    spec: StreamSpec, samples: FloatArray, columns: list[int]
) -> tuple[StreamSpec, FloatArray]:
    leads = tuple(spec.leads[column] for column in columns)
    return replace(spec, leads=leads), samples[:, columns]


def _names(case: Case, spec: StreamSpec, samples: FloatArray) -> bool:
    return any(
        any(words in found.text for words in case.words) and case.lead in {"", found.lead}
        for found in suspicions(spec, samples)
    )


def measure(database: str) -> None:
    """Print how often each mistake is named, and how often a right record is called so."""
    made, named, called = Counter[str](), Counter[str](), Counter[str]()
    records = sorted(path.with_suffix("") for path in database_folder(database).rglob("*.hea"))
    for record in records:
        with WfdbSource(str(record), block_s=1.0) as source:
            spec, samples = source.spec, first_seconds(source, SECONDS)
        for case in cases(spec, samples):
            made[case.mistake] += 1
            read = replace(case.spec, rate_hz=spec.rate_hz * case.rate_factor)
            named[case.mistake] += _names(case, read, case.wrong)
            called[case.mistake] += _names(case, case.spec, case.right)
    sys.stdout.write(f"{database}: {len(records)} records, their first {SECONDS:g} s\n")
    for mistake, count in made.items():
        share, falsely = named[mistake] / count, called[mistake] / count
        sys.stdout.write(
            f"  {mistake:<22} named {share:6.1%}  right ones called so {falsely:5.1%}  of {count}\n"
        )


if __name__ == "__main__":
    for each in sys.argv[1:]:
        measure(each)
