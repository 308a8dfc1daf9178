"""Runs without an engine: methods evaluated on recorded traces, the loop on a clock of its own, plans. No run needs this package."""
