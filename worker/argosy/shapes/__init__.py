"""Pydantic models of the interface: `given` is input, `shown` is output."""
