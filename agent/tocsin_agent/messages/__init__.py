"""What travels over MQTT, as types; no sockets."""
