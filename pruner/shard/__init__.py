"""What one process does: it works on the problems of one shard from the config to the last row.

work.py is one attempt from start to end, runner.py the event loop, case.py one problem (pure). accounting.py counts tokens, attempt.py and
progress.py report how far the process is, ownership.py guards the run folder's config. inputs.py and wiring.py build what the
config names. workbench.py, simulation.py and clocked.py run the same loop without an engine, planning.py says what a run takes. Methods, judges and samplers are packages of their own.
"""
