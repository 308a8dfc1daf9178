"""Thin entries: each reads its Hydra config, wires the parts of pruner/ together and runs them."""
