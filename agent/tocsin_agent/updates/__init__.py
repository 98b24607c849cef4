"""Models in the field: signed, checked, installed, rolled back."""
