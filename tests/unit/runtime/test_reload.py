"""SIGHUP: a configuration is applied as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tocsin_agent.config.config import Config, load_config
from tocsin_agent.delivery.faults import Fault
from tocsin_agent.runtime.reload import Reload, changed_keys, needs_restart

BASE = """
site = "ward3"
device = "bed7"
[source]
uri = "synthetic"
timeout_s = 1.5
[mqtt]
host = "127.0.0.1"
[log]
level = "info"
"""


class Target:
    """What a configuration is applied to."""

    def __init__(self) -> None:
        self.used: list[Config] = []
        self.faults: dict[tuple[str, str], Fault] = {}

    def use(self, config: Config) -> None:
        self.used.append(config)

    def raise_fault(self, fault: Fault, *, once: bool = False) -> None:
        assert not once, "it lasts until a file applies"
        self.faults[fault.code, fault.subject] = fault

    def clear_fault(self, code: str, subject: str) -> None:
        self.faults.pop((code, subject), None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "c.toml").write_text(BASE)
    return tmp_path / "c.toml"


@pytest.fixture
def make(file: Path) -> Callable[[Target], Reload]:
    return lambda target: Reload(load_config(file), lambda: load_config(file), target)


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ('host = "127.0.0.1"', 'host = "localhost"', ["mqtt.host"]),
        ("timeout_s = 1.5", "timeout_s = 3.0", ["source.timeout_s"]),
        ('level = "info"', 'level = "debug"', ["log.level"]),
        ("[log]", "[escalation]\nrepeat_s = 20\n[log]", ["escalation.repeat_s"]),
        ("[log]", "[presence]\nroles = []\n[log]", ["presence.roles"]),
        ("[log]", "[receipts]\nexpected = true\n[log]", ["receipts.expected"]),
        ("[log]", '[fallback]\nhost = "127.0.0.1"\nport = 1884\n[log]', ["fallback"]),
    ],
)
def test_what_can_change_is_applied(
    file: Path, make: Callable[[Target], Reload], old: str, new: str, keys: list[str]
) -> None:
    target = Target()
    reload, before = make(target), load_config(file)
    file.write_text(BASE.replace(old, new))
    assert reload.reload()
    (applied,) = target.used
    changed = changed_keys(before, applied)
    assert keys == (["fallback"] if changed[0].startswith("fallback.") else changed)
    assert reload.reload(), "the same again changes nothing"
    assert len(target.used) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('device = "bed7"', 'device = "bed8"'), "device"),
        (('uri = "synthetic"', 'uri = "excerpt"'), "source.uri"),
        (("[log]", "[limits]\nbradycardia_bpm = 35\n[log]"), "limits.bradycardia_bpm"),
        (("[log]", '[outbox]\npath = "other.db"\n[log]'), "outbox.path"),
        (("[log]", "[metrics]\n[log]"), "metrics.port"),
    ],
)
def test_what_needs_a_restart_is_named_and_nothing_is_applied(
    file: Path,
    make: Callable[[Target], Reload],
    caplog: pytest.LogCaptureFixture,
    change: tuple[str, str],
    named: str,
) -> None:
    target = Target()
    reload = make(target)
    file.write_text(BASE.replace(*change).replace("timeout_s = 1.5", "timeout_s = 9.0"))
    assert not reload.reload()
    assert target.used == []
    assert named in caplog.text
    assert "restart only" in caplog.text
    file.write_text(BASE.replace("timeout_s = 1.5", "timeout_s = 9.0"))
    assert reload.reload()
    assert (len(target.used), target.faults) == (1, {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("site = ", "not TOML"),
        (BASE + "levl = 1\n", "unknown key"),
        (BASE.replace("[log]", '[mqtt.tls]\nca_file = "/none.pem"\n[log]'), "mqtt.tls"),
        (BASE.replace("[log]", '[signing]\nkey_file = "/none.pem"\n[log]'), "signing.key_file"),
    ],
)
def test_an_invalid_file_leaves_the_running_one_and_is_raised(
    file: Path,
    make: Callable[[Target], Reload],
    caplog: pytest.LogCaptureFixture,
    text: str,
    why: str,
) -> None:
    target = Target()
    reload = make(target)
    file.write_text(text)
    assert not reload.reload()
    assert target.used == []
    ((code, _),) = target.faults
    assert code == "configuration_refused"
    assert why in caplog.text
    file.unlink()
    assert not reload.reload()
    file.write_text(BASE)
    assert reload.reload()
    assert target.faults == {}


def test_each_key_is_live_or_needs_a_restart(file: Path) -> None:
    keys = {f"{name}." for name in msgspec.to_builtins(load_config(file))}
    assert {"mqtt.", "presence.", "escalation.", "signing.", "log."} <= keys
    assert needs_restart(["mqtt.host", "source.uri", "source.timeout_s", "site"]) == [
        "source.uri",
        "site",
    ]
