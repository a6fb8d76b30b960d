"""Where the servers of tests are."""

HERE = ["127.0.0.1", "localhost", "::1"]
"""This machine, which clusters and the platform must not be on unless an operator says so."""
