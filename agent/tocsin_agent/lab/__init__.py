"""Judging recordings, devices and the agent; not needed on a gateway."""
