"""Samplers: they turn requests into completions, and know nothing of problems, methods or checkpoints."""
