"""argosy: launches of algorithms on media, run as Argo Workflows on registered clusters, tracked into PostgreSQL."""
