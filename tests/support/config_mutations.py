"""Mutated configurations: each is read, or refused with one line that names the key.

`python tests/support/config_mutations.py --cases 20000` tries them, and prints how many
were accepted, how many refused and every one that was neither.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tocsin_agent.config.config import load_config
from tocsin_agent.errors import ConfigError
from tocsin_agent.runtime.preflight import problems

EXAMPLES = (Path("config/gateway/gateway.toml"), Path("config/gateway/tocsin.toml"))

_WORDS = ("", " ", "presence", "a/b", "+", "#", "nan", "max", "../..", "ä", "mqtt://x:1", "[::1]")
_URIS = ("serial:", "tcp://", "udp://h:99999", "mqtt://h/#", "lsl:?unit=", "h10:", "x:y", "a.npy")
_FILES = ("/", "/dev/full", "/none/x", "\\u0000", "x" * 5000, "http://[", "tls://h:1?cert=a&ca")
VALUES = (
    *("inf", "-inf", "nan", "0", "-1", "-0.0", "1e308", "1" + "0" * 30, "0x7fffffffffffffff"),
    *("true", "2024-01-01", "2024-01-01T00:00:00Z", "07:32:00", "[]", "{}", "[[]]", "{a = 1}"),
    *(json.dumps(text, ensure_ascii=False) for text in (*_WORDS, *_URIS)),
    *(f'"{text}"' for text in (*_FILES, "a\\n", "\\u001b[2J", "\\u202e")),
    "[" * 40 + "]" * 40,
    "[" * 3000 + "]" * 3000,
    "9" * 5000,
    '["a", "a"]',
    '["I", 2]',
)
"""What a key may be set to by mistake or with intent, as TOML."""

_BYTES = b"[]={}\"'#.\n\r\x00\x1b\xff\xc3 0a"


def mutations(seed: int, cases: int, texts: list[str]) -> Iterator[bytes]:
    """Yield mutated files: one to three values replaced, or bytes changed, removed or repeated.

    Parameters
    ----------
    seed : int
        The same seed gives the same files.
    cases : int
        How many.
    texts : list of str
        Valid files to begin with.
    """
    draws = random.Random(seed)
    for _ in range(cases):
        lines = draws.choice(texts).splitlines()
        for _ in range(draws.randint(1, 3)):
            at = draws.randrange(len(lines))
            name, equals, _old = lines[at].partition(" = ")
            if equals and draws.random() < 0.8:
                lines[at] = f"{name.lstrip('# ')} = {draws.choice(VALUES)}"
            elif draws.random() < 0.5:
                lines.insert(at, draws.choice(lines))
            else:
                del lines[at]
        content = bytearray("\n".join(lines) + "\n", "utf-8")
        if draws.random() < 0.3:
            for _ in range(draws.randint(1, 8)):
                content[draws.randrange(len(content))] = draws.choice(_BYTES)
        yield bytes(content)


def outcome(file: Path) -> str:
    """Return `accepted`, `refused`, or `opened in vain` for what names something unusable.

    Raises
    ------
    AssertionError
        If it is refused with a message that is not one line of printable text.
    """
    try:
        config = load_config(file, {})
    except ConfigError as error:
        if not str(error).isprintable() or len(str(error)) > 2000:
            raise AssertionError(f"the message is not one line: {str(error)[:200]!r}") from error
        return "refused"
    return "opened in vain" if problems(config) else "accepted"


def main() -> None:
    """Try the mutations and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in EXAMPLES]
    counts, failures = Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mutated.toml"
        for number, content in enumerate(mutations(options.seed, options.cases, texts)):
            file.write_bytes(content)
            try:
                counts[outcome(file)] += 1
            except Exception as error:  # noqa: BLE001 - what is looked for
                failures += 1
                print(f"case {number}: {type(error).__name__}: {str(error)[:300]}")  # noqa: T201
    print(f"{options.cases} cases: {dict(counts)}, {failures} neither")  # noqa: T201
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
