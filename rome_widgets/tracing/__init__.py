"""Causal tracing: corrupt the subject, restore chosen states, read the answer's probability."""
