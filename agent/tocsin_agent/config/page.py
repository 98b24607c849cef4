"""The reference page and the example file of the configuration, generated from its structs.

`python -m tocsin_agent.config.page` in the root of the project writes both.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap

import msgspec

from tocsin_agent.config.config import Config
from tocsin_agent.config.structdoc import FieldDoc, section_docs

PAGE = Path("docs/configuration.md")
EXAMPLE = Path("config/gateway/tocsin.toml")

_SECRET = ("password", "secret", "token")
_MASK = "********"

_PAGE_HEAD = """\
# Configuration

`tocsin run --config FILE` reads one TOML file. Only `site`, `device` and `source.uri` must be
given; every other key has the default shown. Unknown keys, wrong types and values outside their
limits are refused with file, key, value and what is expected.

```sh
tocsin config check FILE     # check a file
tocsin config show FILE      # the effective values, secrets masked; --json for JSON
tocsin config show           # a commented file with every default, to start from
tocsin config schema         # JSON Schema, for editors
```

The environment variable `TOCSIN_CONFIG` can name the file, too. In `tocsin run` and `tocsin config`
every key can be set by the environment and takes precedence over the file: `TOCSIN_` and the key in
capitals, with `_` for `.`, such as `TOCSIN_MQTT_HOST` or `TOCSIN_LOG_LEVEL`; lists as in TOML. A
variable `TOCSIN_…` that sets nothing is refused. A newline at the end of a value is left out.

`tocsin config check` also checks what the file names: the source and the packages that it needs,
certificates, keys, the password, the place of the outbox. `--file-only` leaves that out.

SIGHUP (`systemctl reload tocsin`) makes a running agent read its file again. `mqtt`, `fallback`,
`presence`, `escalation`, `receipts`, `signing`, `log`, and `source.timeout_s`, `retry_first_s` and
`retry_max_s` change at once: the agent connects again, and goes on monitoring. A file that is
invalid, or that changes any other key, is refused as a whole: the one before goes on, the log names
the error or the keys, and `configuration_refused` is raised until a file applies. Of several
patients the file may add and remove some, and change any key of them: these begin again, and the
others go on undisturbed. So does a patient whose source failed for good, with an unchanged file as
well. Only `model`, `metrics` and `supervision` need a restart then.

**Several patients** in one process: a table `[[patient]]` each instead of `[patient]` and `device`.
It has the keys of `[patient]`, its `device`, its `source`, and if wanted `limits`, `mqtt` and
`signing`, whose keys take precedence over the common sections. Each has an outbox file of its own,
named after `outbox.path` and the device.

```toml
site = "ward3"
[mqtt]
host = "broker.example"
port = 8883
tls = {}
[[patient]]
device = "bed-1"
location = "Bed 1"
source = { uri = "serial:/dev/serial/by-id/usb-ecg-1?baud=921600" }
mqtt = { username = "bed-1", password_file = "/etc/tocsin/bed-1" }
[[patient]]
device = "bed-2"
source = { uri = "tcp://0.0.0.0:7208" }
limits = { tachycardia_bpm = 150 }
```

File names in the configuration are relative to the working directory of the agent. Secrets are not
in the file: name a file that contains the password (`mqtt.password_file`), or set
`TOCSIN_MQTT_PASSWORD`.

*Generated from the structs by `make docs`; do not edit.*
"""

_EXAMPLE_HEAD = """\
# tocsin: every key with its default. A key that begins with "#" is unset.
# Check your own file with: tocsin config check FILE
"""


def render_page() -> str:
    """Return the reference page in Markdown."""
    parts = [_PAGE_HEAD]
    for section in section_docs(Config):
        parts.append(
            f"## `[{section.name}]`\n\n{section.description}\n"
            if section.name
            else "## Top level\n"
        )
        rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
        rows += [
            f"| `{doc.key}` | {doc.type} | {_default_cell(doc)} | {doc.description} |"
            for doc in section.fields
        ]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def render_example() -> str:
    """Return a commented TOML file with every key at its default."""
    lines = [_EXAMPLE_HEAD]
    for section in section_docs(Config):
        if section.name:
            head = f"[{section.name}]  # {section.description}"
            lines.append(f"# {head}" if section.optional else head)
        for doc in section.fields:
            about = f"{doc.description} ({doc.type})"
            lines += wrap(about, width=98, initial_indent="# ", subsequent_indent="# ")
            line = _assignment(doc, doc.example if doc.required else doc.default)
            # The keys of a section that is unset would belong to the section before it.
            lines.append(f"# {line}" if section.optional and not line.startswith("#") else line)
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def render_values(config: Config) -> str:
    """Return the effective values as TOML, secrets masked."""
    values = masked(config)
    lines: list[str] = []
    for section in section_docs(Config):
        if section.name and _look_up(values, section.name) is None:
            continue
        if section.name:
            lines += ["", f"[{section.name}]"]
        lines += [_assignment(doc, _look_up(values, doc.key)) for doc in section.fields]
    return "\n".join(lines) + "\n"


def masked(config: Config) -> dict[str, object]:
    """Return the effective values as plain data, secrets masked."""

    def walk(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: walk(inner, key) for key, inner in value.items()}
        return _MASK if value and name.endswith(_SECRET) else value

    return {key: walk(value, key) for key, value in msgspec.to_builtins(config).items()}


def _assignment(doc: FieldDoc, value: object) -> str:
    name = doc.key.rpartition(".")[2]
    return f"# {name} =" if value is None else f"{name} = {_toml(value)}"


def _look_up(values: object, key: str) -> object:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _toml(value: object) -> str:
    """Return plain data as a TOML value; JSON strings and numbers are valid TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _default_cell(doc: FieldDoc) -> str:
    if doc.required:
        return "**required**"
    return "unset" if doc.default is None else f"`{_toml(doc.default)}`"


def main() -> None:
    """Write the page and the example below the working directory."""
    for path, text in ((PAGE, render_page()), (EXAMPLE, render_example())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
