"""Engines that somebody else serves: vLLM's own server, spoken to over HTTP."""
