"""`tocsin bench`: speed, latency, memory and size on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

_LATENCIES = 400  # alerts whose latency is measured


@click.command()
@click.option("--hours", type=click.FloatRange(0.1, 240), default=24.0, show_default=True,
              help="Length of the ECG for the figures of speed.")  # fmt: skip
@click.option("--days", type=click.FloatRange(0, 365), default=0, show_default=True,
              help="Days of ECG through one monitor, to measure its growth; with --patients: of "
              "each of N patients in one process.")  # fmt: skip
@click.option("--instructions", is_flag=True,
              help="Also count instructions with valgrind, which takes some minutes.")  # fmt: skip
@click.option(
    "--delivery",
    is_flag=True,
    help="Measure delivery through a mosquitto on this machine, and nothing else.",
)
@click.option(
    "--patients",
    "counts",
    default=None,
    metavar="N[,N...]",
    help="Measure one `tocsin run` of N patients in real time, and nothing else.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(5, 86400),
    default=30.0,
    show_default=True,
    help="With --patients: how long.",
)
@click.option(
    "--compare",
    "minutes",
    type=click.FloatRange(1, 60),
    default=None,
    metavar="MINUTES",
    help="With --patients: minutes of ECG of each, in one process and in a process each.",
)
@click.option(
    "--waiting",
    type=click.IntRange(100, 100_000),
    default=10_000,
    show_default=True,
    help="With --delivery: alerts that wait for the broker.",
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
              help="Write the figures to FILE, or to standard output as -.")  # fmt: skip
def command(  # noqa: PLR0917 - click passes them by name
    hours: float,
    days: float,
    instructions: bool,
    delivery: bool,
    counts: str | None,
    seconds: float,
    minutes: float | None,
    waiting: int,
    file: Path | None,
) -> None:
    """Measure speed, latency, memory and size on this machine, on one core.

    \b
    whole_monitor_x_realtime  the whole monitor on one lead at 360 Hz, times real time
    detector_x_realtime       resampling and QRS detection alone
    live_block_ms             CPU time for 250 ms of two leads
    instructions              with --instructions: of such a block, and of a beat in bulk
    endurance                 with --days: memory after each day, CPU time for an hour of ECG
    link_64_devices_x_realtime  64 devices read at once, from bytes to samples in order
    label_latency_s           from the R peak to the beat's label, median and 99th percentile
    startup_s                 `tocsin run`, from start to first sample
    rss_mb                    resident memory of `tocsin run`
    install_mb                the core on disk with all its dependencies
    peers                     beat detection by other programs, offline, in the same run

    \b
    With --delivery, through a real mosquitto:
    commit_ms                 an alert to disk, p50, p99 and longest
    commit_to_receiver_ms     from the commit to a receiver
    commit_to_receiver_flooded_ms  the same during 10,000 presence messages a second
    backlog_s                 --waiting alerts, one in ten high: the first high, all high, all

    \b
    With --patients, each process through a real mosquitto:
    all_monitoring_s          from the start until all patients are monitored
    cpu_of_one_core_percent   CPU time of the process
    rss_mb, pss_mb            resident memory, and its proportional share
    alerts_equal              all patients read the same ECG and must raise the same alerts
    identical                 with --compare: the alerts of N single runs, with their strips
    rss_mb_start, _middle, _end  with --days: resident memory, as the ECG goes on

    \b
    tocsin bench                          print a table; takes about a minute
    tocsin bench --hours 1 --json FILE    write JSON
    tocsin bench --instructions           also count instructions (needs valgrind)
    tocsin bench --days 7                 also monitor a week of ECG
    tocsin bench --patients 32 --compare 10   are the alerts those of 32 single runs?
    tocsin bench --patients 64 --days 1       does a day of 64 patients grow?
    """  # noqa: D301 - \b keeps click from joining the lines
    if delivery:
        _print_delivery(waiting, file)
        return
    if counts is not None:
        _print_patients(counts, seconds, days, minutes, file)
        return
    # One core and one thread, as on a gateway; before numpy starts threads.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    import msgspec

    from tocsin_agent.lab.bench import measure

    figures = measure(
        hours,
        int(days),
        lambda what: click.echo(f"measuring {what} ...", err=True),
        instructions=instructions,
    )
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode()
    if file is not None and str(file) == "-":
        click.echo(text)
        return
    if file is not None:
        file.write_text(text + "\n")
    click.echo(_table(figures))


def _print_delivery(waiting: int, file: Path | None) -> None:
    import logging

    import msgspec

    from tocsin_agent.lab.bench_delivery import measure_delivery

    logging.getLogger("tocsin_agent").setLevel(logging.CRITICAL)
    figures = measure_delivery(
        waiting, _LATENCIES, lambda what: click.echo(f"measuring {what} ...", err=True)
    )
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode()
    if file is not None and str(file) != "-":
        file.write_text(text + "\n")
    click.echo(text)


def _print_patients(
    counts: str, seconds: float, days: float, minutes: float | None, file: Path | None
) -> None:
    import msgspec

    from tocsin_agent.lab.bench_patients import measure_patients
    from tocsin_agent.lab.bench_recordings import compare, measure_growth

    def say(what: str) -> None:
        click.echo(f"measuring {what} ...", err=True)

    try:
        numbers = [int(count) for count in counts.split(",")]
    except ValueError as exc:
        raise click.UsageError("--patients is one number, or several: 1,8,32") from exc
    figures: object
    if minutes is not None:
        figures = [compare(count, minutes, say) for count in numbers]
    elif days:
        figures = [measure_growth(count, 24 * days, say) for count in numbers]
    else:
        figures = measure_patients(numbers, seconds, say)
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode()
    if file is not None and str(file) != "-":
        file.write_text(text + "\n")
    click.echo(text)


def _table(figures: dict[str, Any]) -> str:
    latency = figures["label_latency_s"]
    rows = [
        ("whole monitor", f"{figures['whole_monitor_x_realtime']:,} x real time"),
        ("QRS detection alone", f"{figures['detector_x_realtime']:,} x real time"),
        ("250 ms live block, two leads", f"{figures['live_block_ms']:.2f} ms"),
        *_instruction_rows(figures["instructions"]),
        *_endurance_rows(figures["endurance"]),
        ("64 devices on their links", f"{figures['link_64_devices_x_realtime']} x real time"),
        ("label after the R peak", f"{latency['median']:.2f} s median, {latency['p99']:.2f} s p99"),
        ("start to first sample", f"{figures['startup_s']:.2f} s"),
        ("resident memory", f"{figures['rss_mb']:.0f} MB"),
        ("installed core", f"{figures['install_mb']:.0f} MB"),
    ]
    for name, peer in figures["peers"].items():
        found = peer.get("error") or (
            f"{peer['x_realtime']:,} x real time (offline), {peer['times_tocsin']:g} times tocsin"
        )
        rows.append((name, found))
    return "\n".join(f"{name:<36}{value}" for name, value in rows)


def _instruction_rows(counted: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return the rows for the instructions, with `--instructions`."""
    if counted is None:
        return []
    if "error" in counted:
        return [("instructions", counted["error"])]
    return [
        ("instructions of such a block", f"{counted['live_block'] / 1e3:,.0f} k"),
        ("instructions of a beat in bulk", f"{counted['bulk_beat'] / 1e3:,.0f} k"),
    ]


def _endurance_rows(endurance: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return the rows for the first and the last day, with `--days`."""
    if endurance is None:
        return []
    rss, cpu = endurance["rss_mb"], endurance["cpu_s_per_hour"]
    return [
        (f"memory after day 1 and day {endurance['days']}", f"{rss[0]:.0f} MB, {rss[-1]:.0f} MB"),
        ("CPU of an hour of ECG, on those days", f"{cpu[0]:.2f} s, {cpu[-1]:.2f} s"),
    ]
