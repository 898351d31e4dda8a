"""Rank-one editing, and the one core of all closed forms: keys, residual, moment → update."""
