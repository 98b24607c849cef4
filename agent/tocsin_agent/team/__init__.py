"""The receiving side: what a team's screen shows, and the lease of the person present.

`Feed` decides what is new in a message, `Receiver` keeps the connection that feeds it, `terminal`
writes an item as text in the `language` of the reader, `trace` draws its ECG, `PresenceClient`
holds a lease.
"""
