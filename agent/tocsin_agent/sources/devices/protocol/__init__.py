"""The tocsin link protocol on the gateway (`firmware-bridge/PROTOCOL.md`)."""
