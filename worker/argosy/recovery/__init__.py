"""A database that is older than its clusters, or a copy: how argosy notices it (custody), and what an operator then decides (reconcile)."""
