"""Engines that somebody else serves: vLLM's own server, spoken to over HTTP. Knows nothing of methods or checkpoints.

addresses.py holds where servers are, client.py speaks HTTP, examination.py asks a server what it is (facts.py), answer.py reads one answer,
faults.py names what keeps one from being taken. pool.py keeps requests on servers that work (flights.py: its records), sampler.py is the
job's side of it.
"""
