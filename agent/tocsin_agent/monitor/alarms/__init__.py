"""From findings to alert events: the table of alarms, episodes, reasons and events."""
