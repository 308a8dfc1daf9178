"""Samplers: they turn requests into completions, with vLLM, its servers, recorded traces or made-up ones. ADDING.md shows how to add one."""
