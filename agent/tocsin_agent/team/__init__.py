"""The receiving side: what a team's screen shows, and the lease of the person present.

`Feed` decides what is new in a message, `Receiver` keeps the connection that feeds it, `terminal`
writes an item as text, `PresenceClient` holds a lease.
"""
