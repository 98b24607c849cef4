"""What clients of tocsin 0.1.0 rely on: the schema of its alerts, which allows no other fields."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

STRICT = jsonschema.Draft202012Validator(
    json.loads(Path(__file__).with_name("alert-0.1.0.schema.json").read_text(encoding="utf-8"))
)
