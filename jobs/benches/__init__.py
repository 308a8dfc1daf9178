"""What jobs.bench measures, a module a benchmark."""
