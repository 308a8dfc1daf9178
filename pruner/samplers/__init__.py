"""Samplers: they turn requests into completions. One runs vLLM, one replays recorded traces, one makes traces up.

base.py is the interface, registry.py finds every sampler, ADDING.md shows how to add one. They know nothing of methods or
checkpoints.
"""
