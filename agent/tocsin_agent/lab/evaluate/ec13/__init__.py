"""The tests of ANSI/AAMI EC13 and IEC 60601-2-27 for heart rate meters, on generated waveforms."""

from tocsin_agent.lab.evaluate.ec13.suite import Outcome, as_result, as_table, run_suite

__all__ = ["Outcome", "as_result", "as_table", "run_suite"]
