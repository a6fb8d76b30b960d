"""Stage 3: what happens to workflows on a cluster becomes rows, and what must be done there because of it is done."""
