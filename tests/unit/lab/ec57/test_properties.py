"""What holds for any pair of annotation files."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_agent.lab.ec57.annotations import Annotations, make_annotations
from tocsin_agent.lab.ec57.beats import BeatOptions, compare_beats
from tocsin_agent.lab.ec57.episodes import EpisodeKind, compare_episodes
from tocsin_agent.lab.ec57.runs import RunKind, compare_runs

RATE = 360.0
START = 108_000
AUX = {"{": "(AFIB", "}": "(N", "(": "(VFL"}


def laid_out(steps: list[tuple[int, str]]) -> Annotations:
    """Lay annotations out by the distance to the one before, from 5:00 on."""
    samples, at = [], START + 100
    for step, _ in steps:
        at += step
        samples.append(at)
    marks = [mark for _, mark in steps]
    return make_annotations(
        samples,
        ["+" if mark in AUX else mark for mark in marks],
        aux=[AUX.get(mark, "") for mark in marks],
        subtype=[0x30 if mark == "~" else 0 for mark in marks],
        rate_hz=RATE,
        n_samples=START + 100_000,
    )


def files(marks: str, shortest: int = 1) -> st.SearchStrategy[Annotations]:
    step = st.tuples(st.integers(shortest, 400), st.sampled_from(marks))
    return st.lists(step, max_size=60).map(laid_out)


# A file has a rhythm only with beats in it, and beats no closer than a heart can beat.
sound = st.lists(st.sampled_from(["N", "V", "VV", "A", "AAA", "VVVVVVV", "{NN", "}N"]), max_size=20)
SOUND = sound.flatmap(
    lambda words: st.tuples(*(st.tuples(st.integers(110, 400), st.just(m)) for m in "".join(words)))
).map(lambda steps: laid_out(list(steps)))


@settings(deadline=None)  # the machine may be busy
@given(files("NSVFQ"), files("NSVFQ"))
def test_swapped_beats_swap_sensitivity_and_predictivity(a: Annotations, b: Annotations) -> None:
    """Where the programs do: only VF and shutdowns of the reference excuse a beat."""
    one, other = compare_beats(a, b), compare_beats(b, a)
    assert one.qrs.se == other.qrs.ppv
    assert one.qrs.ppv == other.qrs.se
    assert (one.matrix == other.matrix.T).all()
    assert one.rr_error_ms == other.rr_error_ms


@settings(deadline=None)  # the machine may be busy
@given(files("NSVFQ[]{}(~|"), files("NSVFQ[]{}(~|"))
def test_swapped_runs_swap_sensitivity_and_predictivity(a: Annotations, b: Annotations) -> None:
    one, other = compare_runs(a, b), compare_runs(b, a)
    for kind in RunKind:
        ours, theirs = one.row(kind).ratios, other.row(kind).ratios
        for of in "CSL":
            assert ours[f"{of}Se"] == theirs[f"{of}+P"]
            assert ours[f"{of}+P"] == theirs[f"{of}Se"]


@settings(deadline=None)  # the machine may be busy
@given(files("NV[]{}("), files("NV[]{}("))
def test_swapped_episodes_swap_sensitivity_and_predictivity(a: Annotations, b: Annotations) -> None:
    for kind in EpisodeKind:
        ours, theirs = compare_episodes(a, b, kind).ratios, compare_episodes(b, a, kind).ratios
        for of in ("episode", "duration"):
            assert ours[f"{of}_se"] == theirs[f"{of}_ppv"]
            assert ours[f"{of}_ppv"] == theirs[f"{of}_se"]


@settings(deadline=None)  # the machine may be busy
@given(files("NSVFQ[]{}(~|"))
def test_beats_and_episodes_of_a_file_against_itself_are_perfect(file: Annotations) -> None:
    found = compare_beats(file, file, BeatOptions())
    assert (found.qrs.fn, found.qrs.fp, found.veb.fn, found.veb.fp) == (0, 0, 0, 0)
    assert not found.rr_error_ms
    for kind in EpisodeKind:
        result = compare_episodes(file, file, kind)
        assert (result.fn, result.fp) == (0, 0)
        assert result.overlap == result.reference_duration == result.test_duration


@settings(deadline=None)  # the machine may be busy
@given(SOUND)
def test_runs_of_a_sound_file_against_itself_are_perfect(file: Annotations) -> None:
    for kind in RunKind:
        row = compare_runs(file, file).row(kind)
        assert all(ratio.part == ratio.whole for ratio in row.ratios.values())
