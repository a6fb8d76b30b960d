"""The database: tables, queries, sessions, migrations. Its rows are the record of everything, and they are the queue.

This room knows nothing of Kubernetes. It is synchronous; stages that run on an event loop call it with `asyncio.to_thread`, a batch at a
time (A3). Frequent statements are written as named SQL, each with a comment that says what it is for; the rest is SQLAlchemy.
"""
