"""One connection to an MQTT broker.

`connection` is the connection, `settings` configures it, `advice` says what to do about a failure,
`embedded` is a small broker for the demo. `client` and `events` adapt paho to `connection`.
"""
