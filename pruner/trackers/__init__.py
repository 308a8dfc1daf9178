"""Where a run's figures are also shown: Weights & Biases or MLflow, each an extra that is off by default.

A tracker gets the numbers of progress.json while a shard goes on, and at its end the run's totals and the report. It works in a thread of its own
(background.py): one that is slow or fails costs a warning and nothing else. A module with a TrackerConfig is found by registry.py.
"""
