"""Settings: sections with typed fields, the registry that finds the choices of a kind, the model's settings and the prices."""
