"""Helpers of the Makefile and the tests: npm, and a browser."""
