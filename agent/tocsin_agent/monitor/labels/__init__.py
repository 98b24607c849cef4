"""From detected beats and windows to labelled beats: models, corrections, merge in order."""
