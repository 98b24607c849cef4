"""The gateway's side of the tocsin link protocol (`firmware-bridge/PROTOCOL.md`)."""
