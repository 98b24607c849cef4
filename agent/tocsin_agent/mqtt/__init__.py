"""One connection to an MQTT broker."""
