"""Wires: what carries the frames, one module each."""
