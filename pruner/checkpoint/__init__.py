"""The checkpoint of a shard: one DuckDB file with the facts of its problems, and the lease that says who may write it."""
