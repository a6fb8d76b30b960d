"""A database that is older than the world, or a copy: how it is noticed (custody), and what somebody then decides (reconcile)."""
