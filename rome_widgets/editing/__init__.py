"""Edits of a model's weights: statistics, key, value, the methods, applied and reverted."""
