"""Cross-validation of the whole agent."""
