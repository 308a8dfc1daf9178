"""Samplers: they turn requests into completions. One runs vLLM, one replays recorded traces, one makes traces up.

base.py is the interface. They know nothing of problems, methods or checkpoints.
"""
