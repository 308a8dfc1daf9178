"""Methods: policies that decide which traces start, go on or stop, and what the answer is. Pure and deterministic. ADDING.md shows how to add one."""
