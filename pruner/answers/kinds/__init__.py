"""Kinds of answers (`problems.answers`): how answers of a set are grouped and graded, a module each. See ADDING.md of the package above."""
