"""What one process does with the problems of one shard, from the config to the last row. No package above it is needed for a run."""
