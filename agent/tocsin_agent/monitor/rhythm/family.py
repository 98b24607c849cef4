"""What every family of rules can do."""

from __future__ import annotations

from tocsin_agent.monitor.rhythm.finding import Finding
from tocsin_agent.monitor.rhythm.limits import Limits
from tocsin_agent.monitor.timeline import Item


class RuleFamily:
    """A family of rules; what it does not need it leaves as it is here.

    `Rhythm` first updates the shared `History` and then calls every family, in a fixed order.
    """

    def take(self, item: Item) -> list[Finding]:  # noqa: ARG002 - the default has no rule
        """Take what was decided at the instant to which time has passed."""
        return []

    def use(self, limits: Limits) -> None:
        """Use other limits of rate and pause from here on; what has begun keeps its own."""

    def restart(self) -> None:
        """Forget what was before a gap in the samples."""
