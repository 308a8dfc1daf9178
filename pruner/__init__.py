"""Pruned parallel LLM reasoning as a batch job that can be killed at any time and resumed.

The packages hold one concern each; their docstrings say what is inside. The flat modules are the vocabulary that packages share: records
(traces.py, rows.py, schemas.py), pure rules (clustering.py, voting.py, prefix.py, intervals.py and others), problem sets and prompts
(problems.py, sources.py, problem_shapes.py, importing.py, columns.py, prompts.py), recorded traces (recording.py, replay.py), and files and messages (files.py,
json_records.py, errors.py, lines.py). Nothing here reads the command line or Hydra's config: jobs/ does.
"""

SCHEMA_VERSION = 8
