"""Trackers: where a run's figures are also shown. Each is an extra that is off by default; one that is slow or fails costs a warning."""
