"""The live board of beds: `ward` keeps what is known, `table` words it, `screen` shows it.

`ward` and `table` are pure; only `screen` needs the extra `team` (textual).
"""
