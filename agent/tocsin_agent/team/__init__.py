"""The receiving side."""
