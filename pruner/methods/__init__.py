"""Methods: policies that decide which traces to sample on and what the answer is. Pure and deterministic."""
