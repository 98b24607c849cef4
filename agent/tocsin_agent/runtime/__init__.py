"""A running agent.

assembly   wires an agent from a configuration; the only place that knows all parts
agent      reads a source, monitors it, commits every alert
stream     one stream: its monitor, its clock, its alert documents
document   alert events to alert documents
clock      sample indices to UTC
"""
