"""Kinds of answers (`problems.answers`): how answers of a set are grouped and graded, a module each. pruner/answers/ADDING.md says how one is added."""
