"""The main job's configuration as a whole (job.py), and which part of it decides a run's results (identity.py)."""
