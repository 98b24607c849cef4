"""A running agent."""
