"""The fit of the weights that compare beat shapes."""
