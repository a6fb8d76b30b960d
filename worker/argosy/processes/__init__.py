"""The processes of an installation, worker and tracker, with the wake-ups between them, and housekeeping."""
