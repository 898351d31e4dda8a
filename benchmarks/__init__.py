"""Benchmarks: speed as ratios taken in one run; see README.md."""
