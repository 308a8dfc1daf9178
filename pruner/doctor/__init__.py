"""The doctor: whether this machine, model and configuration hold what the program promises, before a week of jobs.

machine.py looks at what needs no engine, engines.py starts those that the configuration names and tries them on a few prompts,
resuming.py kills a small run and lets it go on. findings.py is what they report.
"""
