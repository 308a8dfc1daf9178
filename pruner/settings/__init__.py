"""What settings are made of: sections with typed fields, and the registry that finds the choices of a kind.

Also the model's settings and the prices, which several packages need. Knows no method, judge, sampler or job.
"""
