"""Experts' review of alerts: cases for readers, their answers, and an annotation set of them."""
