"""The fault campaign: real agents, broker and receiver, and what went wrong between them.

`make chaos` runs it. It injects faults in a seeded order and compares what the agents committed
with what a receiver showed. It needs mosquitto and libfaketime, and a small tmpfs for the full disk
(mounted as root, else that fault is reported as not run).
"""
