"""Beats in, labelled beats out."""
