"""Alerts are committed, kept, and sent to the bedside or the team.

::

    Committer ──▶ store: Outbox (database, held) or MemoryStore ──▶ Publisher ──▶ broker
                                                                   Sender, DeliverySession
                                                                        ▲
                                                        PresenceLedger: team or bedside

`store` is the interface of every store, `settings` what a configuration may set.
"""
