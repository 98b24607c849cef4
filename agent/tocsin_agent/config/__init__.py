"""The configuration: one TOML file."""
