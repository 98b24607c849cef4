"""Wires: what carries the bytes of the link protocol, one module each."""
