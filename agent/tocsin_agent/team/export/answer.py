"""What a person answered to an alert, with the alert: what a response does not say of it."""

from __future__ import annotations

import msgspec

from tocsin_agent.messages.alert import Alert
from tocsin_agent.messages.response import Response


class Answer(msgspec.Struct, frozen=True):
    """An answer that a device applied.

    Parameters
    ----------
    alert : Alert
        Its last document that was known when the answer came, without a strip.
    response : Response
    """

    alert: Alert
    response: Response
