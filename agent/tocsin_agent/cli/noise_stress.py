"""`tocsin noise-stress`: beat detection at decreasing signal-to-noise ratios."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tocsin_agent.lab.ec57.beats import Score
    from tocsin_agent.lab.ec57.statistics import Ratio
    from tocsin_agent.lab.evaluate.stress import StressResult


class Ratios(click.ParamType["tuple[float, ...]"]):
    """Numbers in dB, separated by commas."""

    name = "dB,dB,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            ratios = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            ratios = ()
        if not ratios or not all(math.isfinite(ratio) for ratio in ratios):
            self.fail(f"{value!r}: numbers such as 24,12,0,-6 expected", param, ctx)
        return ratios


@click.command("noise-stress")
@click.argument("record")
@click.option(
    "--noise", default="em", show_default=True, help="em, bw or ma of nstdb, or any WFDB record."
)
@click.option(
    "--snr",
    type=Ratios(),
    default="24,18,12,6,0,-6",
    show_default=True,
    help="Signal-to-noise ratios in dB, separated by commas.",
)
@click.option(
    "--annotator", default="atr", show_default=True, help="Annotator of the reference beats."
)
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each noisy record into this folder, with its reference.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--report", "report", type=click.Path(path_type=Path, file_okay=False),
              help="Write a page with the curves into this folder.")  # fmt: skip
def command(  # noqa: PLR0917 - click passes them by name
    record: str,
    noise: str,
    snr: tuple[float, ...],
    annotator: str,
    folder: Path | None,
    as_json: bool,
    report: Path | None,
) -> None:
    """Add calibrated noise to RECORD, and evaluate how well its beats are detected.

    After five clean minutes, two noisy and two clean minutes alternate. QRS sensitivity and
    positive predictivity are given from 5:00 on: over all minutes, the noisy and the clean ones.

    \b
    tocsin noise-stress mitdb/118 --noise em --snr 24,18,12,6,0,-6
    tocsin noise-stress mitdb/119 --noise ma --snr 6,0 --json
    tocsin noise-stress mitdb/118 --report out
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.lab.evaluate.stress import stress
    from tocsin_agent.sources.files.wfdb_record import find_record
    from tocsin_models import load_models

    results: list[dict[str, Any]] = []
    for result in stress(record, noise, snr, annotator=annotator, models=load_models()):
        if folder is not None:
            path, _ = find_record(record)
            reference = path.with_name(f"{path.name}.{annotator}")
            result.mixture.write(folder, annotations=[reference])
        if not as_json:
            _show(result, heading=not results)
        results.append(_as_data(result))
    if report is not None:
        click.echo(f"report: {_report(record, noise, results, report)}", err=True)
    if as_json:
        click.echo(json.dumps({"record": record, "noise": noise, "results": results}, indent=1))


def _as_data(result: StressResult) -> dict[str, Any]:
    return {
        "record": result.mixture.record.name,
        "snr_db": result.mixture.snr_db,
        "gains": list(result.mixture.gains),
        "gains_from": result.calibration.origin,
        "qrs": _score(result.comparison.qrs),
        "noisy": _score(result.noisy.qrs),
        "clean": _score(result.clean.qrs),
        "noisy_veb": _score(result.noisy.veb),
        "veb": _score(result.comparison.veb),
        "sveb": _score(result.comparison.sveb),
    }


def _report(record: str, noise: str, results: list[dict[str, Any]], folder: Path) -> Path:
    """Write a page with the curves of the noisy minutes."""
    from tocsin_agent import __version__
    from tocsin_agent.cli.common import made
    from tocsin_agent.lab.evaluate.report import write_report
    from tocsin_models import load_models

    rows = [
        {"snr_db": r["snr_db"], "noise": noise, "records": [record], "qrs": r["noisy"],
         "veb": r["noisy_veb"]}
        for r in results
    ]  # fmt: skip
    result = {
        "schema": "tocsin/noise-stress/v1",
        "database": f"{record} in {noise}",
        "leads": "all",
        "records": [record],
        "snr": rows,
        "software": {"version": __version__, "models": load_models().hashes},
    }
    return write_report(result | made(), folder, lambda *_: None)


def _score(score: Score) -> dict[str, Any]:
    return {
        "se": score.se.percent,
        "ppv": score.ppv.percent,
        "tp": score.tp,
        "fn": score.fn,
        "fp": score.fp,
    }


def _show(result: StressResult, *, heading: bool) -> None:
    if heading:
        click.echo(f"{'':16}{'QRS, all':>32}{'noisy':>32}{'clean':>32}")
        click.echo(f"{'record':<10}{'dB':>6}" + f"{'Se %':>16}{'+P %':>16}" * 3)
    scores = (result.comparison.qrs, result.noisy.qrs, result.clean.qrs)
    cells = [f"{_share(score.se):>16}{_share(score.ppv):>16}" for score in scores]
    click.echo(f"{result.mixture.record.name:<10}{result.mixture.snr_db:>6g}{''.join(cells)}")


def _share(ratio: Ratio) -> str:
    figure = "-" if ratio.percent is None else f"{ratio.percent:.2f}"
    return f"{figure} of {ratio.whole:g}"
