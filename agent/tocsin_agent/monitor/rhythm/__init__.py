"""Labelled beats in, findings out; one module a family of rules."""
