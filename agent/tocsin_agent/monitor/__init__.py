"""Samples of one patient in, alert events out; no files, sockets, clocks or threads."""
