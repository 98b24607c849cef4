"""The committed schemas are those of the code, and documents satisfy them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from support.factories import NOON, make_alert, make_strip
from tocsin_agent.messages.alert import encode_alert
from tocsin_agent.messages.health import BrokerState
from tocsin_agent.messages.lease import encode_lease, make_lease
from tocsin_agent.messages.schema import main, make_schemas
from tocsin_agent.messages.topics import ENROLMENT_ROOT, ROOT, Branch

CONFIG = Path(__file__).resolve().parents[3] / "config" / "messages"


@pytest.mark.parametrize("name", sorted(make_schemas()))
def test_the_committed_schema_is_current(name: str) -> None:
    committed = (CONFIG / name).read_text(encoding="utf-8")
    assert committed == make_schemas()[name], "run: python -m tocsin_agent.messages.schema"


def test_the_module_writes_what_is_committed(tmp_path: Path) -> None:
    main([str(tmp_path)])
    for path in tmp_path.iterdir():
        assert path.read_text(encoding="utf-8") == (CONFIG / path.name).read_text(encoding="utf-8")


def test_documents_satisfy_their_schema_and_others_do_not() -> None:
    schema = json.loads(make_schemas()["alert.schema.json"])
    document = json.loads(encode_alert(make_alert(strip=make_strip())))
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"alert_id": "7"}, schema)
    jsonschema.validate(document | {"of_a_later_version": 1}, schema)
    lease = json.loads(encode_lease(make_lease("cardiologist", "dr-k", 60, NOON)))
    jsonschema.validate(lease, json.loads(make_schemas()["presence.schema.json"]))


def test_asyncapi_names_every_topic_and_state() -> None:
    text = (CONFIG / "asyncapi.yaml").read_text(encoding="utf-8")
    addresses = re.findall(r"address: (\S+)", text)
    roots = (f"{ROOT}/{{site}}/", f"{ENROLMENT_ROOT}/{{site}}/")
    assert all(address.startswith(roots) for address in addresses)
    for branch in Branch:
        ways = 2 if branch is Branch.IDENTITY else 1  # there and back
        found = [one for one in addresses if one.startswith(ROOT) and f"}}/{branch}" in one]
        assert len(found) == ways, branch
    for state in BrokerState:
        assert f"- {state}\n" in text
    for name in make_schemas():
        assert f"./{name}" in text
    # Every reference leads somewhere: a two-step path to a key at the right depth.
    for section, key in re.findall(r'"#/(?:components/)?(\w+)/(\w+)"', text):
        assert re.search(rf"^ *{section}:\n(?:.*\n)*?^ +{key}:", text, re.MULTILINE), key
