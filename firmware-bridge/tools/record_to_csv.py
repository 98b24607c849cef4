"""Write two signals of a WFDB record as counts: python3 record_to_csv.py mitdb/208 > 208.csv

Needs the package wfdb. Prints the options of `simulated_device` to standard error.
"""

from __future__ import annotations

import sys

import wfdb


def main() -> None:
    name = sys.argv[1]
    record = wfdb.rdrecord(name, channels=[0, 1], physical=False)
    counts = record.d_signal
    sys.stdout.write(",".join(record.sig_name) + "\n")
    sys.stdout.writelines(f"{a},{b}\n" for a, b in counts.tolist())
    sys.stderr.write(
        f"--rate {record.fs:g} --gain {record.adc_gain[0]:g} --zero {record.baseline[0]}\n"
    )


if __name__ == "__main__":
    main()
