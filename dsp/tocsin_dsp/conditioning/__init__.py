"""Gaps, resampling and signal quality of the incoming samples."""
