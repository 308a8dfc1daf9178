"""The doctor: whether this machine, model and configuration hold what the program promises, before a week of jobs."""
