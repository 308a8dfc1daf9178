"""The benchmarks of jobs.bench, one module per benchmark.

settings.py, outcome.py, machine.py, children.py and live.py are what they share. Measured figures are in tests/bench/RESULTS.md.
"""
