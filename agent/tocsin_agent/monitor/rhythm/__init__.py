"""From the timeline to findings: one family of rules a file, over one history of the beats."""
