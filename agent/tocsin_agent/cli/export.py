"""`tocsin export`: alerts, trends and ECG in the formats of other systems."""

from __future__ import annotations

import click

from tocsin_agent.cli import _export_fhir, _export_files, _export_hl7, _export_queue


@click.group(context_settings={"max_content_width": 100})
def command() -> None:
    """Write or send alerts and ECG in the formats of other systems.

    What maps to what, and from which standard: docs/exchange.md.

    \b
    tocsin export episode night.jsonl --alert 3fa2 --format dicom -o out
    tocsin export record mitdb/208 --format edf -o out
    tocsin export fhir --follow --broker HOST:PORT --queue fhir.db --to https://h/fhir
    tocsin export hl7 --follow --broker HOST:PORT --queue hl7.db --to mllps://h:2575
    """  # noqa: D301 - \b keeps click from joining the lines


command.add_command(_export_files.episode)
command.add_command(_export_files.record)
command.add_command(_export_fhir.fhir)
command.add_command(_export_hl7.hl7)
command.add_command(_export_queue.queue)
