"""Whose turn it is, and how much a cluster is given. Pure: no I/O, no clock."""
