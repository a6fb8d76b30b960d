"""What the containers of a job wrote: what the cluster says now, and what was kept of those that failed."""
