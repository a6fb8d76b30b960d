"""argosy: runs launches of algorithms on media as Argo Workflows on registered clusters, and records their state in PostgreSQL."""
