"""QRS detection."""
