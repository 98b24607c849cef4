"""The section `[source]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_agent.config.config import load_config
from tocsin_agent.errors import ConfigError


def test_a_password_in_the_uri_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """The device's `info` message, which is retained, would have it."""
    path = tmp_path / "c.toml"
    path.write_text(
        'site = "ward3"\ndevice = "bed7"\n[source]\nuri = "mqtt://user:hidden@broker/raw"\n'
    )
    with pytest.raises(ConfigError, match="password") as caught:
        load_config(path)
    assert "hidden" not in str(caught.value)
