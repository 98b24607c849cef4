"""The training of the models; not part of the wheel."""
