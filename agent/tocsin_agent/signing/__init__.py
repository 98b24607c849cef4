"""Who published a message: ed25519 signatures beside the payload.

`keys` reads and makes keys, `envelope` signs a message and reads a signature, `keyring` says whose
key it is and whether it may sign that message, `replays` remembers what was accepted, `settings`
is the table `[signing]` of the configuration.
"""
