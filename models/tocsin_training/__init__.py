"""How the models are trained; not shipped."""
