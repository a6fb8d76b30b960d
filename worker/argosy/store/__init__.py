"""The record of everything, and the queue of record: tables, queries, sessions, migrations.

This room knows no Kubernetes. It is synchronous, one implementation only; stages that run on an event loop bridge to it batch-wise with
`asyncio.to_thread` (A3). Hot statements are named SQL with a line on what each is for; the rest is SQLAlchemy.
"""
