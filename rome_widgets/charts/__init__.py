"""Altair figures of records, and the colours that figures and widgets share."""
