"""`tocsin export fhir`: alerts and trends to a FHIR server, or as NDJSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin_agent.cli import ExitCode
from tocsin_agent.cli._export_send import documents_from, run, security_from, send_options
from tocsin_agent.cli._output import write_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.messages.trend import Trend
    from tocsin_agent.team.export.fhir import Resource
    from tocsin_agent.team.export.queue import Document, Item


@click.command()
@click.option("--to", "url", metavar="URL", help="Base of a FHIR server, such as https://h/fhir.")
@click.option(
    "--release",
    type=click.Choice(["R4", "R6"]),
    default="R4",
    show_default=True,
    help="R4: Flag and Observation. R6: DeviceAlert, as of 6.0.0-snapshot1; no trends.",
)
@click.option(
    "--patient-system",
    metavar="URI",
    help="Identifier system of the pseudonyms.  [default: one of tocsin's own]",
)
@click.option(
    "--to-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a bearer token; read anew for each request.",
)
@send_options
def fhir(  # click passes them by name
    url: str | None,
    release: str,
    patient_system: str | None,
    to_token_file: Path | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Send alerts and trends to a FHIR server, or write them as NDJSON.

    ALERTS.json holds alerts, or the lines of `tocsin watch --json`, `tocsin replay --json` or
    `tocsin trend --json`. Every resource is validated (extra `fhir`) and has an id of its own: what
    is sent twice is there once.

    \b
    tocsin export fhir night.jsonl -o out
    tocsin export fhir --follow --broker HOST:PORT --queue fhir.db --to https://h/fhir
    """  # noqa: D301 - \b keeps click from joining the lines
    convert = _converter(release, patient_system)
    documents, output = documents_from(options, url)
    security = security_from(options)
    if output is not None and documents is not None:
        return _write(documents, convert, output)
    assert url is not None  # noqa: S101 - `documents_from` has looked
    from tocsin_agent.team.export.fhir import transaction
    from tocsin_agent.team.export.fhir_server import FhirServer

    try:
        server = FhirServer(url, security, token_file=to_token_file)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc

    def send(document: Document, item: Item) -> None:
        resources = convert(document, item.latest)
        if resources:
            server.send(transaction(resources))

    return run("fhir", documents, send, options)


def _converter(release: str, patients: str | None) -> Callable[[Document, bool], list[Resource]]:
    from tocsin_agent.messages.alert import Alert
    from tocsin_agent.messages.trend import Trend
    from tocsin_agent.team.export import fhir as r4
    from tocsin_agent.team.export import fhir_r6 as r6
    from tocsin_agent.team.export.codes import PATIENTS
    from tocsin_agent.team.export.fhir_check import check

    system = patients or PATIENTS

    def convert(document: Document, latest: bool) -> list[Resource]:
        if isinstance(document, Alert):
            make = r4.alert_resources if release == "R4" else r6.alert_resources
            resources = make(document, system, latest=latest)
        elif isinstance(document, Trend):
            resources = r4.trend_resources(document, system) if release == "R4" else []
        else:
            whole = "Flag" if release == "R4" else "DeviceAlert"
            resources = r4.answer_resources(document, whole=whole)
        for resource in resources:
            check(resource, release)
        return resources

    return convert


def _write(
    documents: list[Alert | Trend],
    convert: Callable[[Document, bool], list[Resource]],
    folder: Path,
) -> int:
    """Write each resource once, as the last document has it."""
    import msgspec

    from tocsin_agent.messages.alert import Alert

    last = {d.alert_id: d.sequence for d in documents if isinstance(d, Alert)}
    found: dict[tuple[str, str], Resource] = {}
    bad = 0
    for document in documents:
        latest = not isinstance(document, Alert) or document.sequence >= last[document.alert_id]
        try:
            for resource in convert(document, latest):
                found[resource["resourceType"], resource["id"]] = resource
        except ValueError as exc:
            bad += 1
            click.echo(f"tocsin: left out: {exc}", err=True)
    lines: dict[str, list[bytes]] = {}
    for (kind, _), resource in sorted(found.items(), key=lambda one: one[0][0]):
        lines.setdefault(f"{kind}.ndjson", []).append(msgspec.json.encode(resource) + b"\n")
    for path in write_new(folder, {name: b"".join(of_it) for name, of_it in lines.items()}):
        click.echo(f"{path}: {len(lines[path.name])}")
    return ExitCode.DELIVERY if bad else ExitCode.OK
