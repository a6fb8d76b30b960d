"""Stage 1: a launch request becomes rows, one launch and one job for each batch."""
