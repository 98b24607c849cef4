"""Live devices."""
