"""Quantised models and the one runner."""
