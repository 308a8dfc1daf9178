"""Judges: how likely two unfinished traces of one problem end in the same answer. ADDING.md shows how to add one."""
