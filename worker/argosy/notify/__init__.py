"""Tells others how a launch ended: webhooks out of an outbox."""
