"""The typed configuration of the main job, and which part of it decides a run's results (identity.py).

Values are checked here, once, before anything is loaded. Hydra itself is used in jobs/ only.
"""
