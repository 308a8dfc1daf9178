"""Training and evaluating judges from labelled pairs."""
