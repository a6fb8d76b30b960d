"""Stage 2: queued jobs become workflows, once each."""
