"""onnxruntime with its telemetry switched off: the only module of the agent that imports it.

From version 1.29 on, the Linux builds of onnxruntime report to their maker unless the environment
has `ORT_DISABLE_TELEMETRY=1` before the library is loaded (its Privacy.md, "Disabling Telemetry").
The variable stops the uploader, the events and the device identifier that would be stored below the
home folder; the call `disable_telemetry_events` comes too late, after the first event. The agent
sets it whatever the environment says: a gateway in a hospital reports to its broker only.
"""

from __future__ import annotations

import os

TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"

os.environ[TELEMETRY_SWITCH] = "1"

import onnxruntime as ort  # noqa: E402  # after the switch

__all__ = ["TELEMETRY_SWITCH", "ort"]
