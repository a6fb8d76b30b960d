"""What happened, and why a job is where it is; read from the database only."""
