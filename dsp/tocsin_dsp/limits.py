"""Physiological limits that several stages share."""

from __future__ import annotations

from tocsin_dsp.conditioning.resample import ANALYSIS_RATE_HZ

TYPICAL_RR_S = 0.8
"""Seconds. The RR interval assumed of a patient of whom none is known yet."""

LONGEST_RR_S = 3.0
"""Seconds. An RR interval this long or longer is a pause or a missed beat, not part of a rhythm: it
is left out of medians, means and measures of irregularity."""

LONGEST_RR = int(LONGEST_RR_S * ANALYSIS_RATE_HZ)
"""The same in analysis samples."""

SHORTEST_RR = 45
"""Analysis samples (180 ms). Two beats are never closer than this: 333 per minute."""
