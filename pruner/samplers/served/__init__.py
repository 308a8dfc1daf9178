"""Engines that somebody else serves: vLLM's own server, spoken to over HTTP.

addresses.py says where they are, client.py speaks HTTP, examination.py asks a server what it is, answer.py reads one answer, pool.py keeps
requests on servers that work (flights.py: what it keeps in mind), sampler.py is the job's side of it. They know nothing of methods or checkpoints.
"""
