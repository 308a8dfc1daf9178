"""What jobs.bench measures, one module per benchmark."""
