"""Child processes of tests, and how long a test waits for them."""

from __future__ import annotations

import os
import sys

PATIENCE_S = 300.0
"""The longest wait for something that must happen: generous, since the machine may be busy."""


def is_busy() -> bool:
    """Return whether programs of this machine wait for a processor."""
    return os.getloadavg()[0] >= (os.cpu_count() or 1)


def claimed_s(limit_s: float) -> float:
    """Return a time limit that is claimed of an idle machine; on a busy one, the longest wait."""
    return PATIENCE_S if is_busy() else limit_s


def child_environment() -> dict[str, str]:
    """Return an environment in which a child imports the code that this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
