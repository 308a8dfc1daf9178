"""Recorded traces: reading and checking them, and giving them out in the order of a seed. Samplers and judges replay from here."""
