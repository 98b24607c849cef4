from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import jsonschema
import msgspec
import pytest

from support import config_mutations
from tocsin_agent.config import page as configdoc
from tocsin_agent.config import structdoc
from tocsin_agent.config.config import Config, config_hash, load_config, parse_config
from tocsin_agent.errors import ConfigError

ROOT = Path(__file__).parents[3]
GOOD = 'site = "s"\ndevice = "d"\n[source]\nuri = "excerpt"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('device = "d"\n[source]\nuri = "x"', "site", ["`site` is missing", "Site name"]),
        ('site = "s"\ndevice = "d"', "source", ["`source` is missing", "section [source]"]),
        ('site = "s"\ndevice = "d"\n[source]', "source.uri", ["`source.uri` is missing"]),
        ('site = "a/b"\ndevice = "d"\n[source]\nuri="x"', "site", ['"a/b"', "no `/`, `+`, `#`"]),
        ('site = "a"\ndevice = "d+"\n[source]\nuri="x"', "device", ['"d+"']),
        ('site = "a"\ndevice = ""\n[source]\nuri="x"', "device", ['""']),
        (GOOD + "block_s = 0.0", "source.block_s", ["0.0", "from 0.002 up to 60", "0.25"]),
        (GOOD + 'speed = "fast"', "source.speed", ['"fast"', "up to 10000 or `max`"]),
        (GOOD + "gain = inf", "source.gain", ["is inf; expected number from 0.001"]),
        (GOOD + "[outbox]\nmax_pending = 1" + "0" * 30, "outbox.max_pending", ["up to 1000000"]),
        (GOOD + 'patient = "a\\nb"', "source.patient", ["unknown key"]),
        ('patient = "a\\nb"\n' + GOOD, "patient", ["control characters are not allowed"]),
        (GOOD.replace('"d"', '"d\\n"'), "device", ["control characters"]),
        (GOOD + 'leads = ["I", "I"]', "source", ["a lead twice"]),
        (GOOD + "[limits]\npause_s = 5", "limits", ["pause_s is not below asystole_s"]),
        (GOOD + "x = " + "[" * 3000 + "]" * 3000, "", ["not TOML that can be read"]),
        (GOOD + "speed = nan", "source.speed", ["expected number"]),
        (GOOD + 'leads = ["I", 2]', "source.leads", ["`source.leads[1]`", "list of text"]),
        (GOOD + "rate_hz = true", "source.rate_hz", ["true", "from 100 up to 2000"]),
        (GOOD + "spede = 1", "source.spede", ["unknown key", "did you mean `source.speed`?"]),
        ("rate_hz = 5\n" + GOOD, "rate_hz", ["did you mean `source.rate_hz`?"]),
        (GOOD + "[xyzzy]", "xyzzy", ["the top level has site, device"]),
        (GOOD + "[log]\nxyzzy = 1", "log.xyzzy", ["[log] has level"]),
        (GOOD + "[limits]\nasystole_s = 99", "limits.asystole_s", ["99", "up to 10"]),
        (GOOD + "[limits]\nvt_beats = 4.5", "limits.vt_beats", ["4.5", "whole number"]),
        (GOOD + '[log]\nlevel = "loud"', "log.level", ['"loud"', "`warning`"]),
        (GOOD + "[mqtt]\nport = 70000", "mqtt.port", ["70000", "from 1 up to 65535", "1883"]),
        (GOOD + '[mqtt]\nversion = "4"', "mqtt.version", ['"4"', "`5`", "`3.1.1`"]),
        (GOOD + "[mqtt]\nreconnect_max_s = 0.5", "mqtt", ["[mqtt]: reconnect_max_s is less"]),
        (GOOD + '[mqtt]\npassword = "x"', "mqtt.password", ["`mqtt.password_file`"]),
        (GOOD + '[mqtt.tls]\nca = "x"', "mqtt.tls.ca", ["`mqtt.tls.ca_file`"]),
        (GOOD + "[mqtt.tls]\nca_file = 1", "mqtt.tls.ca_file", ["expected text"]),
        (GOOD + "[mqtt]\ntls = true", "mqtt.tls", ["true", "section [mqtt.tls]"]),
        (GOOD + 'unit = "counts"', "source", ["give gain"]),
        (GOOD.replace('"d"', '"presence"'), "", ["t.toml: device 'presence'", "not 'presence'"]),
        (GOOD + '[presence]\nroles = ["a/b"]', "presence", ["[presence]: role 'a/b'"]),
        (GOOD + '[mqtt]\npassword_file = "p"', "mqtt", ["password_file without username"]),
        (GOOD + "speed = \n", "", ["not TOML", "line 5"]),
        (GOOD + "since = 2024-01-01", "source.since", ["unknown key"]),
        (GOOD + "speed = 2024-01-01", "source.speed", ["2024-01-01"]),
    ],
)
def test_wrong_configuration_names_file_key_value_and_what_is_right(
    tmp_path: Path, text: str, key: str, expected: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert caught.value.key == key
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for words in expected:
        assert words in message


def test_unreadable_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'site = "\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 8"):
        load_config(tmp_path / "latin.toml")


def test_hash_follows_the_meaning_not_the_text(tmp_path: Path) -> None:
    plain = load_config(write(tmp_path, GOOD))
    same = load_config(write(tmp_path, "# a comment\n" + GOOD + "speed = 1\n[log]\n"))
    other = load_config(write(tmp_path, GOOD + "speed = 2"))
    assert config_hash(plain) == config_hash(same)
    assert config_hash(plain) != config_hash(other)


def test_every_key_is_described_and_every_default_satisfies_its_own_limits() -> None:
    docs = list(structdoc.field_docs(Config))
    assert [doc.key for doc in docs if not doc.description] == []
    assert [doc.key for doc in docs if doc.required and doc.example is None] == []
    assert [s.name for s in structdoc.section_docs(Config) if s.name and not s.description] == []
    config = load_config(ROOT / "config" / "gateway" / "tocsin.toml")
    assert msgspec.convert(msgspec.to_builtins(config), Config) == config


def test_committed_page_and_example_are_current() -> None:
    assert (ROOT / configdoc.PAGE).read_text() == configdoc.render_page(), "run: make docs"
    assert (ROOT / configdoc.EXAMPLE).read_text() == configdoc.render_example(), "run: make docs"


def test_example_holds_the_defaults() -> None:
    example = load_config(ROOT / "config" / "gateway" / "tocsin.toml")
    raw = {
        "site": example.site,
        "device": example.device,
        "source": {"uri": example.source.uri},
    }
    assert parse_config(raw, "defaults") == example


@pytest.mark.parametrize("name", ["tocsin.toml", "gateway.toml"])
def test_shown_values_read_back_the_same(tmp_path: Path, name: str) -> None:
    config = load_config(ROOT / "config" / "gateway" / name)
    assert load_config(write(tmp_path, configdoc.render_values(config))) == config


def test_optional_sections_are_shown_where_they_are_given(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD + '[mqtt.tls]\nca_file = "ca.pem"'))
    shown = configdoc.render_values(config)
    assert "[mqtt.tls]" in shown
    assert load_config(write(tmp_path, shown)) == config
    assert "\n# [mqtt.tls]" in configdoc.render_example()


def test_odd_text_survives_being_shown(tmp_path: Path) -> None:
    config = parse_config(
        {"site": "s", "device": "d", "source": {"uri": "x"}, "location": 'Süd "2"\\ ✚'}, "t"
    )
    assert load_config(write(tmp_path, configdoc.render_values(config))) == config


def test_schema_accepts_the_example() -> None:
    schema = json.loads(msgspec.json.encode(msgspec.json.schema(Config)))
    config = load_config(ROOT / "config" / "gateway" / "tocsin.toml")
    jsonschema.validate(json.loads(msgspec.json.encode(config)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"site": "s"}, schema)


def test_row_20_mutated_configurations_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in config_mutations.EXAMPLES]
    counts = Counter[str]()
    for content in config_mutations.mutations(seed=7, cases=300, texts=texts):
        file = tmp_path / "mutated.toml"
        file.write_bytes(content)
        counts[config_mutations.outcome(file)] += 1
    assert counts["accepted"] > 0
    assert counts["refused"] > counts["accepted"]


def test_a_pipe_or_a_huge_file_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path / "pipe")
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(6 * 1024**3)
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path / "huge.toml")


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("mqtt://127.0.0.1", "such as host = '127.0.0.1'"),
        ("127.0.0.1:1883", "write host = '127.0.0.1' and port = 1883"),
        ("[::1]", "without brackets, such as '::1'"),
        (" 127.0.0.1", "without spaces"),
        ("http://x/", "such as host = 'x'"),
    ],
)
def test_case_19_a_host_that_is_more_than_a_host_is_refused(
    tmp_path: Path, host: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(advice)):
        load_config(write(tmp_path, GOOD + f'[mqtt]\nhost = "{host}"'))


def test_row_19_a_plain_connection_to_another_machine_must_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plain connection to broker\.example"):
        load_config(write(tmp_path, GOOD + '[mqtt]\nhost = "broker.example"'))
    for allowed in (
        'host = "broker.example"\nallow_plaintext = true',
        'host = "127.0.0.2"',
        'host = "::1"',
        'host = "broker.example"\n[mqtt.tls]',
    ):
        load_config(write(tmp_path, GOOD + "[mqtt]\n" + allowed))


def test_case_28_every_key_can_be_set_by_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + '[mqtt]\nusername = "gw"')
    config = load_config(
        file,
        {
            "HOME": "/",
            "TOCSIN_CONFIG": "x",
            "TOCSIN_SITE": "ward\n",
            "TOCSIN_MQTT_HOST": "127.0.0.3",
            "TOCSIN_MQTT_PORT": "1884",
            "TOCSIN_MQTT_VERSION": "3.1.1",
            "TOCSIN_MQTT_PASSWORD_FILE": "secret",
            "TOCSIN_MQTT_TLS_CA_FILE": "ca.pem",
            "TOCSIN_SOURCE_LEADS": '["II"]',
            "TOCSIN_SOURCE_SPEED": "max",
            "TOCSIN_LOG_LEVEL": "error",
        },
    )
    assert (config.site, config.mqtt.host, config.mqtt.port) == ("ward", "127.0.0.3", 1884)
    assert (config.mqtt.version, config.mqtt.password_file) == ("3.1.1", "secret")
    assert config.mqtt.tls is not None
    assert (config.source.leads, config.source.speed) == (("II",), "max")
    assert config.log.level == "error"


def test_case_28_a_variable_that_sets_nothing_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=r"TOCSIN_MQTT_HSOT.*did you mean TOCSIN_MQTT_HOST\?"):
        load_config(file, {"TOCSIN_MQTT_HSOT": "x"})
    with pytest.raises(ConfigError, match=r"set by the environment: TOCSIN_MQTT_PORT"):
        load_config(file, {"TOCSIN_MQTT_PORT": "many"})
