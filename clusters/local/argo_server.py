"""A real Argo Server beside a cluster with a node, and the archive that it serves: a PostgreSQL in which Argo's controller keeps ended
workflows, and the status of nodes.

Argo Server listens on every address, so it runs in the node's network; the gateway leads a port of 127.0.0.1 here to it (gateway.py).
Argo's tables are made by its controller, when that starts with this configuration: Argo Server is ready once it can list its archive.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import yaml
from psycopg.conninfo import conninfo_to_dict

PORT = 2746
NAMESPACE = "argo"
_TLS, _LOGIN = "argo-server-tls", "argo-postgres"
_CONFIGURATION = "workflow-controller-configmap"


def configured(objects: str, archive: str, certificate: str, key: str) -> str:
    """Argo's objects, as text, with an archive and all that an Argo Server needs.

    Args:
        objects: argo.yaml.
        archive: The archive's database, as postgresql://….
        certificate: Argo Server's, PEM text.
        key: Of the certificate, PEM text.
    """
    database = conninfo_to_dict(archive)
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(objects))
    for document in documents:
        if document["metadata"]["name"] == _CONFIGURATION:
            configuration = yaml.safe_load(document["data"]["config"]) | {"persistence": _persistence(database)}
            document["data"]["config"] = yaml.safe_dump(configuration)
    login = {"username": str(database["user"]), "password": str(database.get("password") or "none")}
    documents += [_secret(_LOGIN, "Opaque", login)]
    documents += [_secret(_TLS, "kubernetes.io/tls", {"tls.crt": certificate, "tls.key": key})]
    return yaml.safe_dump_all(documents)


def command(argo: str) -> list[str]:
    """How Argo Server is started. It takes its kubeconfig from KUBECONFIG: what it does with a caller's token ignores the flag."""
    return [
        argo,
        "server",
        f"--namespace={NAMESPACE}",
        f"--port={PORT}",
        "--auth-mode=client",
        f"--tls-certificate-secret-name={_TLS}",
        "--loglevel=warn",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _persistence(database: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "archive": True,
        "nodeStatusOffLoad": True,
        "clusterName": "local",
        "connectionPool": {"maxOpenConns": 8, "maxIdleConns": 2},
        "postgresql": {
            "host": database["host"],
            **({"port": int(database["port"])} if "port" in database else {}),
            "database": database["dbname"],
            "tableName": "argo_workflows",
            "userNameSecret": {"name": _LOGIN, "key": "username"},
            "passwordSecret": {"name": _LOGIN, "key": "password"},
        },
    }


def _secret(name: str, kind: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": kind,
        "data": {field: b64encode(value.encode()).decode() for field, value in data.items()},
    }
