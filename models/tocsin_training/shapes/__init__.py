"""The weights that compare beat shapes."""
