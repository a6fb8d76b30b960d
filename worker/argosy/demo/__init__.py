"""What `argosy demo` and the tests run besides argosy: PostgreSQL and Valkey from wheels, and a simulated JobCluster."""
