"""The container definition, without an engine; `make image-test` builds the image and runs it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from click.testing import CliRunner

from tocsin_agent.cli import cli
from tocsin_agent.config.config import load_config

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "config" / "gateway" / "container" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    return [(w, rest) for w, _, rest in (x.partition(" ") for x in joined.splitlines() if x)]


def of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def test_the_instructions_are_known_and_what_runs_is_no_root() -> None:
    words = [word for word, _ in instructions()]
    known = "FROM ARG COPY RUN USER WORKDIR VOLUME ENV HEALTHCHECK STOPSIGNAL ENTRYPOINT CMD"
    assert set(words) <= set(known.split())
    assert of("FROM") == ["debian:bookworm-slim AS build", "scratch"]
    assert words.index("USER") > max(k for k, word in enumerate(words) if word == "RUN")
    assert of("USER") == ["10001:10001"]
    assert "tocsin:x:10001:10001:" in of("RUN")[0]
    assert "-o 10001 -g 10001 -m 0700 /image/var/lib/tocsin" in of("RUN")[0]


def test_each_command_is_one() -> None:
    with_shell = [text for text in of("RUN") if not text.startswith("[")]
    assert len(with_shell) == 1, "the image itself has no shell"
    for text in with_shell:
        subprocess.run(["sh", "-n", "-c", text], check=True)
    (health,) = of("HEALTHCHECK")
    for text in (health.partition("CMD ")[2], *of("ENTRYPOINT"), *of("CMD")):
        words = json.loads(text)  # an array: no shell of the image starts it
        if words[0].startswith("/opt/tocsin"):
            words = words[1:]
        if words:
            assert CliRunner().invoke(cli, [words[0], "--help"]).exit_code == 0


def test_the_documented_command_keeps_the_health_check() -> None:
    assert "podman build --format docker" in FILE.read_text()


def test_the_environment_is_accepted_and_what_is_kept_is_in_the_volume(tmp_path: Path) -> None:
    environ = dict(pair.split("=", 1) for pair in of("ENV")[0].split())
    (tmp_path / "t.toml").write_text('site = "a"\ndevice = "b"\n[source]\nuri = "synthetic"\n')
    config = load_config(tmp_path / "t.toml", environ)
    assert Path(config.outbox.path).parent == Path(of("VOLUME")[0]) == Path(of("WORKDIR")[-1])
