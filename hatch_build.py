"""Build hook: with `TOCSIN_COMPILE=1`, compile signal processing and monitor to machine code.

mypyc compiles the typed Python of `tocsin_dsp` and `tocsin_agent.monitor` as it is; the wheel then
has the compiled modules beside their source and the tag of this platform and Python. Without the
variable, and in an editable installation, the wheel is pure Python.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "TOCSIN_COMPILE"
COMPILED = {"tocsin_dsp": "dsp/tocsin_dsp", "tocsin_agent/monitor": "agent/tocsin_agent/monitor"}
"""Folders that are compiled: their path in the wheel, and in the source."""
REQUIRED = ["mypy[mypyc]>=1.13", "setuptools>=70", "numpy>=1.26", "msgspec>=0.19"]
"""The compiler, and what the compiled modules import: its types are read."""
INTERPRETED = {"patient.py"}
"""Modules that stay Python: a class of the runtime derives from `PatientMonitor`."""
CLASS_OPTIONS = re.compile(r"^class \w+\([^)]*\w=", re.MULTILINE)
"""A class with options, as a msgspec Struct has: mypyc drops them, so its module stays Python."""
C_FLAGS = ["-ffp-contract=off"]
"""A fused multiply-add has another last bit than Python's product and sum."""


class CompileHook(BuildHookInterface[Any]):
    """Add the compiled modules to the wheel where the variable asks for them."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs beyond hatchling."""
        return REQUIRED if _wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is written."""
        if version == "editable" or not _wanted():
            return
        self._built = tempfile.TemporaryDirectory(prefix="tocsin-compile-")
        target = Path(self._built.name)
        _compile(Path(self.root), target)
        for module in sorted((target / "lib").rglob("*.so")):
            name = module.relative_to(target / "lib").as_posix()
            build_data["force_include"][str(module)] = name
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled, now in the wheel."""
        if hasattr(self, "_built"):
            self._built.cleanup()


def _wanted() -> bool:
    value = os.environ.get(VARIABLE, "0")
    if value not in {"", "0", "1"}:
        raise ValueError(f"{VARIABLE} is 1 to compile or 0 for pure Python, not {value!r}")
    return value == "1"


def _compile(root: Path, target: Path) -> None:
    """Compile all modules into `target / "lib"`, laid out as in the wheel."""
    from mypyc.build import mypycify  # noqa: PLC0415 - only a compiled wheel needs a compiler
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    sources = [
        str(file.relative_to(root))
        for folder in COMPILED.values()
        for file in sorted((root / folder).rglob("*.py"))
        if file.name not in {"__init__.py", *INTERPRETED}
        and not CLASS_OPTIONS.search(file.read_text("utf-8"))
    ]
    before = Path.cwd()
    os.chdir(root)  # the configuration of mypy names its folders from here
    try:
        extensions = mypycify(
            ["--config-file=pyproject.toml", f"--cache-dir={target / 'cache'}", *sources],
            opt_level="1",
            debug_level="0",
            group_name="tocsin",
            target_dir=str(target / "c"),
        )
        for extension in extensions:
            extension.extra_compile_args = [*extension.extra_compile_args, *C_FLAGS]
        command = build_ext(Distribution({"name": "tocsin", "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(target / "lib"), str(target / "temp")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
