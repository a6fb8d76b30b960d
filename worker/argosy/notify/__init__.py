"""Tells others how a launch ended, out of an outbox: by webhooks and by mail."""
