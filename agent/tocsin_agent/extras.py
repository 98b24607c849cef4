"""Optional dependencies: installed as extras of tocsin, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from tocsin_agent.errors import MissingExtraError


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional dependency.

    Parameters
    ----------
    module : str
        Its import name, such as `serial`.
    extra : str
        The extra of tocsin that installs it.
    purpose : str
        What needs it, as the subject of a sentence: `a serial port`.

    Raises
    ------
    MissingExtraError
        If it cannot be imported, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # pylsl without its C library: RuntimeError
        raise MissingExtraError(
            extra,
            f"{purpose} needs an optional package: pip install 'tocsin[{extra}]' ({error})",
        ) from error
