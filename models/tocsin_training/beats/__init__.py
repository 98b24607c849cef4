"""The beat model."""
