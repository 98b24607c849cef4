"""Streaming ECG signal processing: numpy only, no I/O, no clock, no model."""
