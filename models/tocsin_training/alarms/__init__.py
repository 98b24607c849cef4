"""The model that verifies ventricular alarms."""
