"""Evaluation of the agent on a database: `tocsin evaluate`.

`evaluate` runs the agent over every record in parallel and sums the results of `judge`; `databases`
selects the records of a database and names those that are missing.
"""

from tocsin_agent.lab.evaluate.databases import Selection, select
from tocsin_agent.lab.evaluate.evaluation import evaluate

__all__ = ["Selection", "evaluate", "select"]
