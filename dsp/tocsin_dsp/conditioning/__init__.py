"""Gaps, resampling and signal quality."""
