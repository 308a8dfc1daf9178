"""Pruned parallel LLM reasoning as a batch job that can be killed at any time and goes on where it was."""

SCHEMA_VERSION = 4
