"""Pooling of ECG with the consent of the people it is of: export, check, revocation."""
