"""The library for an API server: launch and read, register algorithms and clusters; `Client`, and `AsyncClient` for a server that awaits.

It is typed and needs only PostgreSQL. If the caller passes its connection, a launch is written in the caller's own transaction, so the API
server needs neither Redis nor a second commit. Everything is read from the database, without asking a cluster (P10). The only exceptions
are methods about a cluster itself, such as `check_cluster`, those about logs, and `lint`, which asks the Argo Server that a cluster names.
"""

from argosy.client.aio import AsyncClient
from argosy.client.client import Client
from argosy.shapes.launched import Launched

__all__ = ["AsyncClient", "Client", "Launched"]
