"""tocsin: a real-time ECG anomaly-detection agent for the edge."""

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

__version__ = "0.1.0"


def build() -> str:
    """Return "compiled" where the monitor runs as machine code, else "interpreted"."""
    found = find_spec("tocsin_dsp.exact")
    compiled = found is not None and str(found.origin).endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if compiled else "interpreted"
