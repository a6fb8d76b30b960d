"""What crosses the wire: `given` comes in, `shown` goes out."""
