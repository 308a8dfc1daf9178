"""The main job's configuration as a whole (job.py), and which part of it decides a run's results (identity.py).

Each section stands beside what it configures, and no module below knows more than its own. Values are checked once, before anything
is loaded. Hydra itself is used in jobs/ only.
"""
