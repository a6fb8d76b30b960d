"""The users of Redis that worker/docs/roles.md tells about, on a server of a test."""

from typing import Any
from urllib.parse import urlsplit

import redis

from tests.conftest import ROOT

LINES = (ROOT / "helm" / "argosy" / "files" / "redis.acl").read_text().splitlines()
"""The rules, as they stand in a file for Redis."""


def apply(server: str, user: str = "argosy") -> str:
    """Make the users on a server.

    Args:
        server: Its address, as somebody who may do that.
        user: One of them.

    Returns:
        The address, as that user.
    """
    client: Any = redis.Redis.from_url(server)
    for line in LINES:
        _, name, *rules = line.split()
        client.execute_command("ACL", "SETUSER", name, "reset", *rules)
    client.close()
    url = urlsplit(server)
    password = "PASSWORD" if user == "argosy" else "CALLERS-PASSWORD"
    return url._replace(netloc=f"{user}:{password}@{url.hostname}:{url.port}").geturl()
