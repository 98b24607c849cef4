"""Power cuts: a call that changes the disk is not made, and nothing after it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


class PowerCut(BaseException):
    """The power fails here."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the power fail before the given call that changes what is on the disk."""
    calls = 0

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == step:
                raise PowerCut
            if calls > step:
                raise PowerCut("nothing is written without power")
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, call)

    counted(os, "fsync")
    counted(os, "sync")
    counted(shutil, "rmtree")
    for name in ("replace", "symlink_to", "mkdir", "unlink"):
        counted(Path, name)
