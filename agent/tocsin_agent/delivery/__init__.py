"""Commit, keep and send alerts."""
