"""Training on what experts reviewed, and the trial that shows what it changes."""
