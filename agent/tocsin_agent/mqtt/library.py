"""paho, loaded without the HTTP client of the standard library.

paho imports `urllib.request` to look for a proxy, which it does only where PySocks is installed.
With what that imports in turn, it costs 2 MB and 10 ms of each start.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

_UNUSED = "urllib.request"

_absent = find_spec("socks") is None and _UNUSED not in sys.modules
if _absent:
    sys.modules[_UNUSED] = ModuleType(_UNUSED)
try:
    import paho.mqtt.client as paho
finally:
    if _absent:
        del sys.modules[_UNUSED]

__all__ = ["paho"]
