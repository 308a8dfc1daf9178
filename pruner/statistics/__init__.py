"""Figures over many problems: votes at k, intervals, Pareto fronts. Plain numbers in, plain numbers out."""
