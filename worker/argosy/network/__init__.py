"""Requests to servers that others name: which addresses may be connected to, and answers that are bounded in time and size."""
