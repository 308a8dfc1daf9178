"""Judges: they say how likely two unfinished traces of one problem end in the same answer."""
