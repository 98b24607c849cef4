"""`tocsin card`: one page for the public."""

from __future__ import annotations

from pathlib import Path

import click

from tocsin_agent.cli._output import writing_to


@click.command()
@click.option("--into", "file", type=click.Path(path_type=Path, dir_okay=False),
              default=Path("tocsin-card.html"), show_default=True, help="The page.")  # fmt: skip
@click.option("--docs", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="The folder docs of a checkout.  [default: that of this program]")  # fmt: skip
def command(file: Path, docs: Path | None) -> None:
    """Write one page for the public: what was measured on whom, where it fails, what changed.

    It is made of docs/evaluation, of the cards of the models and of CHANGELOG.md, and holds all
    that it shows: it can be sent, printed and put on any web server.

    \b
    tocsin card --into card.html
    """  # noqa: D301 - \b keeps click from joining the lines
    from tocsin_agent.lab.card import default_docs, render

    folder = docs or default_docs()
    if folder is None:
        raise click.UsageError(
            "an installed package has no docs: name the folder of a checkout by --docs"
        )
    page = render(folder)
    with writing_to(file, "--into"):
        file.write_text(page, encoding="utf-8")
    click.echo(f"{file}: {file.stat().st_size / 1e3:.0f} kB")
