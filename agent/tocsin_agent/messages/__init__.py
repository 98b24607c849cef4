"""The messages that the agent sends and receives over MQTT, as types.

`alert`, `acknowledgement`, `response`, `active`, `lease`, `status`, `health` and `info` are one
message each; `topics` is the topic tree, `schema` writes the JSON schemas. `reading` travels in
files: what a reader of a review is shown, and answers. Nothing here opens a file or a connection.
"""
