"""What `argosy demo` and the tests run beside argosy: PostgreSQL and Valkey out of wheels, and a simulated JobCluster."""
