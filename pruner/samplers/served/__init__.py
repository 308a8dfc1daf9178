"""Engines that somebody else serves: vLLM's own server, spoken to over HTTP.

addresses.py says where they are, client.py speaks HTTP, examination.py asks a server what it is, answer.py reads one answer, pool.py keeps
requests on servers that work. They know nothing of methods or checkpoints.
"""
