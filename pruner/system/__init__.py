"""The machine: files, processes, installed packages, Slurm's environment, lines on a terminal. Knows nothing of traces."""
