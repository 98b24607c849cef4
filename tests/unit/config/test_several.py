"""A configuration of several patients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_agent.config.several import load_patients
from tocsin_agent.errors import ConfigError

COMMON = """
site = "ward3"
[mqtt]
host = "broker.example"
allow_plaintext = true
[limits]
bradycardia_bpm = 35
"""
TWO = (
    COMMON
    + """
[[patient]]
device = "bed-1"
id = "p-1"
location = "Bed 1"
source = { uri = "synthetic" }
[[patient]]
device = "bed-2"
source = { uri = "excerpt" }
limits = { tachycardia_bpm = 150 }
mqtt = { username = "bed-2" }
"""
)


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_each_patient_has_the_common_sections_and_its_own(tmp_path: Path) -> None:
    one, two = load_patients(written(tmp_path, TWO))
    assert (one.device, one.who.id, one.who.location) == ("bed-1", "p-1", "Bed 1")
    assert (one.source.uri, two.source.uri) == ("synthetic", "excerpt")
    assert (one.mqtt.host, one.mqtt.username) == ("broker.example", None)
    assert (two.mqtt.host, two.mqtt.username) == ("broker.example", "bed-2")
    assert (one.limits.bradycardia_bpm, two.limits.bradycardia_bpm) == (35, 35)
    assert (one.limits.tachycardia_bpm, two.limits.tachycardia_bpm) == (140, 150)
    assert one.outbox.path == "tocsin-outbox-bed-1.db"
    assert two.outbox.path == "tocsin-outbox-bed-2.db"


def test_a_file_of_one_patient_is_read_as_before(tmp_path: Path) -> None:
    text = 'site = "s"\ndevice = "d"\npatient = "p-1"\n[source]\nuri = "synthetic"\n'
    (config,) = load_patients(written(tmp_path, text))
    assert (config.who.id, config.outbox.path) == ("p-1", "tocsin-outbox.db")


def test_the_example_is_valid() -> None:
    configs = load_patients(Path(__file__).parents[3] / "config" / "gateway" / "ward.toml")
    assert [config.device for config in configs] == ["bed-1", "bed-2"]


def test_the_environment_sets_common_keys_only(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    configs = load_patients(path, {"TOCSIN_MQTT_PORT": "8883"})
    assert [config.mqtt.port for config in configs] == [8883, 8883]
    with pytest.raises(ConfigError, match="several patients"):
        load_patients(path, {"TOCSIN_PATIENT_ID": "p-1"})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('device = "bed-2"', 'device = "bed-1"', "two .* have the device 'bed-1'"),
        ('device = "bed-2"\n', "", "2 has no `device`"),
        ('site = "ward3"', 'site = "ward3"\ndevice = "g"', "belongs into each"),
        ('host = "broker.example"', 'host = "b"\nclient_id = "x"', "disconnect the others"),
        ("tachycardia_bpm = 150", "tachycardia_bpm = -1", r"\[\[patient\]\] 2 \(bed-2\)"),
        ('source = { uri = "excerpt" }', "source = 3", "`patient.source`.* is no table"),
        ('id = "p-1"', 'idd = "p-1"', "idd"),
        ('uri = "synthetic"', 'uri = "excerpt?x=1"', "two .* have the source.uri 'excerpt'"),
        ('device = "bed-2"', 'device = "BED-1"', "outbox.path"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in TWO
    with pytest.raises(ConfigError, match=expected):
        load_patients(written(tmp_path, TWO.replace(old, new)))


def test_a_common_section_that_is_none_is_named(tmp_path: Path) -> None:
    text = TWO.replace("[limits]\nbradycardia_bpm = 35\n", "").replace(
        'site = "ward3"', 'site = "ward3"\nlimits = 3'
    )
    with pytest.raises(ConfigError, match="`limits` is 3; a section"):
        load_patients(written(tmp_path, text))


def test_more_patients_than_a_gateway_monitors_are_refused(tmp_path: Path) -> None:
    patients = "".join(
        f'[[patient]]\ndevice = "bed-{n}"\nsource = {{ uri = "synthetic" }}\n' for n in range(65)
    )
    with pytest.raises(ConfigError, match="1 to 64 expected"):
        load_patients(written(tmp_path, COMMON + patients))
