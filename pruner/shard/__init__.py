"""What one process does: it works on the problems of one shard from the config to the last row.

case.py is one problem (pure), runner.py the event loop, wiring.py builds what the config chooses.
"""
