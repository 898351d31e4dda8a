"""Common parts of widgets that compute: traits, status, jobs, the worker thread."""
