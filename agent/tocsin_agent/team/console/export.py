"""The strip of an alert on paper, at true scale."""

from __future__ import annotations

from tocsin_agent.drawing.svg import document
from tocsin_agent.messages.alert import Alert
from tocsin_agent.team.language import Language
from tocsin_agent.team.strip import strip_sheet


def strip_svg(alert: Alert, language: Language) -> bytes:
    """Return the strip as SVG in millimetres.

    Raises
    ------
    ValueError
        If the alert has no strip that can be read.
    """
    return document(strip_sheet(alert, language)).encode()


def strip_pdf(alert: Alert, language: Language) -> bytes:
    """Return the strip as a PDF of A4 in true size; needs the extra `picture`.

    Raises
    ------
    ValueError
        As `strip_svg`.
    MissingExtraError
        Without the extra.
    """
    from tocsin_agent.drawing.picture import picture  # noqa: PLC0415  # matplotlib takes a second

    return picture(strip_sheet(alert, language, whole_page=True), "pdf")
