"""Problem sets: where they are read from, which shapes and columns they may have, and the set that a run works on. No model, no trace."""
