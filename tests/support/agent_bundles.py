"""Bundles of the agent, as a vendor makes them: of this code and the packages of this machine."""

from __future__ import annotations

import compileall
import importlib.util
import os
import py_compile
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tocsin_agent.updates import bundle as bundles
from tocsin_agent.updates.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
EXPIRES = datetime.now(UTC) + timedelta(days=30)
_OURS = ("agent/tocsin_agent", "dsp/tocsin_dsp", "models/tocsin_models")
_NEEDED = (
    *("numpy", "onnxruntime", "paho", "msgspec", "click", "cryptography", "_cffi_backend"),
    *("cobs", "google_crc32c"),
)
_NEVER_READ = ("tests", "include", "f2py", "tools", "transformers", "quantization", "datasets")


def site(folder: Path) -> Path:
    """Fill a folder with the packages that `tocsin run` and `tocsin update` need."""
    for name in _OURS:
        _copy(ROOT / name, folder)
    for name in _NEEDED:
        found = importlib.util.find_spec(name)
        assert found is not None
        places = found.submodule_search_locations
        path = Path(next(iter(places))) if places else Path(found.origin or "")
        _copy(path, folder)
        libraries = path.with_name(f"{path.name}.libs")
        if libraries.is_dir():
            _copy(libraries, folder)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode)
    return folder


def _copy(path: Path, folder: Path) -> None:
    """Copy a module or a package; what is only read is linked where that can be done."""
    target = folder / path.name
    if path.is_file():
        shutil.copy(path, target)
        return
    ours = path.is_relative_to(ROOT)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyi", "*.a", "*.h", *_NEVER_READ)
    shutil.copytree(path, target, ignore=ignored, copy_function=shutil.copy if ours else _link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def small_site(folder: Path, version: str = "9.0", outbox_format: int = 1) -> Path:
    """Fill a folder with the smallest version that can be packed: it cannot run."""
    for name, text in {
        "tocsin_agent/__init__.py": f'__version__ = "{version}"\n',
        "tocsin_agent/delivery/database.py": f"OUTBOX_FORMAT = {outbox_format}\n",
        f"fast{_suffix()}": "compiled",
        "data/a": "a" * 1000,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def bundle(
    site: Path,
    out: Path,
    *keys: Path,
    release: int = 1,
    expires: datetime = EXPIRES,
    least_release: int = 0,
) -> Manifest:
    """Make a bundle of a folder, and sign it with private keys."""
    made = bundles.make(site, out, release, expires, least_release, level=None)
    for key in keys:
        bundles.sign(out, key)
    return made


def _suffix() -> str:
    import sysconfig

    return str(sysconfig.get_config_var("EXT_SUFFIX"))
