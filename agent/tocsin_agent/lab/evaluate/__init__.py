"""The agent over a database, judged: what `tocsin evaluate` does.

`evaluate` runs the agent over every record in parallel and adds up what `judge` finds;
`databases` knows by name what belongs to a database, and what is missing.
"""

from tocsin_agent.lab.evaluate.databases import Selection, select
from tocsin_agent.lab.evaluate.evaluation import evaluate

__all__ = ["Selection", "evaluate", "select"]
