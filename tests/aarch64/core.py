"""Print the hashes of beats and alerts of streams, cut in several ways, as JSON: core.py [FILE ...]

`tools/check-aarch64` runs this on this machine and on an emulated one, and compares: the same bits
are expected. It uses nothing that is only installed for tests.
"""

from __future__ import annotations

import hashlib
import json
import platform
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STREAMS = ("synthetic:demo", "synthetic:all_alarms")
CUTS_S = (15.0, 1.7, 0.3)
"""Lengths of the blocks; the first is that of `tests/accuracy/golden.py`."""


def main() -> int:
    """Print one object; exit code 1 if a stream depends on how it is cut."""
    golden = runpy.run_path(str(ROOT / "tests/accuracy/golden.py"))
    run, hashes, cut_differs = golden["run"], {}, False
    for uri in (*STREAMS, *sys.argv[1:]):
        found = []
        for cut_s in CUTS_S:
            run.__globals__["BLOCK_S"] = cut_s
            result = run(uri)
            text = json.dumps(result, sort_keys=True).encode()
            found.append(hashlib.sha256(text).hexdigest()[:16])
            beats, alerts = len(result["beats"]), len(result["alerts"])
        hashes[Path(uri).name] = f"{found[0]}: {beats} beats, {alerts} alerts"
        cut_differs |= len(set(found)) > 1
        sys.stderr.write(f"{platform.machine()} {Path(uri).name}: {' '.join(found)}\n")
    sys.stdout.write(json.dumps(hashes, indent=1) + "\n")
    return 1 if cut_differs else 0


if __name__ == "__main__":
    sys.exit(main())
