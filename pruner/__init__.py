"""Pruned parallel LLM reasoning as a batch job that can be killed at any time and resumed.

README.md beside this file is the map. Nothing here reads the command line or Hydra's config: jobs/ does.
"""

SCHEMA_VERSION = 8
