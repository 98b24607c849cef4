"""Findings in, episodes and alert events out."""
