"""The checkpoint of a shard: one DuckDB file with the facts of its problems, and the lease that says who may write it.

store.py is the interface and the only writer; database.py makes, opens and checks the file, rows.py turns facts into rows and back,
unfinished_facts.py reads what a resume needs, lease.py guards the shard. The package knows segments, probes, verdicts and final answers, and
nothing of methods, engines or result tables.
"""
