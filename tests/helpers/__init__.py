"""Slow references, tiny models, stand-ins for engines, and counts, shared by the tests."""
