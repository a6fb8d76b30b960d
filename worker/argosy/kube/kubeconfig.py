"""Reads how to reach a cluster from a kubeconfig, as `kubectl` and the tools of cloud providers write it.

Only its address, CA and namespace, and a token or the command that gives one, are taken. A client certificate is refused: nobody can
revoke one, and what a kubeconfig holds is usually an administrator's. So are ways that would send the token to somebody else: without TLS,
without a check of the server's certificate, or through a proxy.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from argosy.errors import InvalidRequest
from argosy.inputs import clean

LIMIT = 4 << 20
"""The most bytes of a file."""


@dataclass(frozen=True)
class FoundContext:
    """What a context of a kubeconfig says.

    Attributes:
        host: Name or address.
        port: Port.
        path: Path before that of the Kubernetes API; empty if there is none.
        ca: CA certificates as PEM text; empty if it names none.
        namespace: Namespace of the context; empty if it names none.
        token: Bearer token; empty if there is none.
        token_file: File from which the token is read each time; empty if there is none.
        command: The command that gives a token, and its arguments.
        environment: Names of variables that the kubeconfig sets for that command. argosy does not: their values may be secrets.
        refused: Why the context's own credentials cannot be used; empty if they can.
    """

    host: str
    port: int
    path: str
    ca: str
    namespace: str
    token: str = ""
    token_file: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    refused: str = ""


def read(file: Path, context: str | None = None) -> FoundContext:
    """What a context of a kubeconfig says.

    Args:
        file: The kubeconfig; files that it names are found from its folder.
        context: Name of the context; None for the current one.

    Raises:
        InvalidRequest: The file cannot be read, or the context cannot be used; the message says why, and what to do.
    """
    config = _parsed(file)
    name = context or str(config.get("current-context") or "")
    names = ", ".join(str(each.get("name")) for each in _entries(config, "contexts"))
    if not name:
        raise InvalidRequest(f"{file}: no current-context; choose one with --context: {names or 'there is none'}")
    chosen = _named(config, "contexts", "context", name, f"{file}: there are the contexts {names or 'none'}")
    cluster = _named(config, "clusters", "cluster", str(chosen.get("cluster")), f"{file}: context {name!r}")
    user: Mapping[str, Any] = {}
    if chosen.get("user"):
        user = _named(config, "users", "user", str(chosen["user"]), f"{file}: context {name!r}")
    host, port, path = _server(f"{file}: context {name!r}", cluster)
    return FoundContext(
        host,
        port,
        path,
        _ca(file, cluster),
        str(chosen.get("namespace") or ""),
        **_credentials(file, user, cluster),
    )


def _parsed(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise InvalidRequest(f"{file}: more than {LIMIT >> 20} MiB; that is no kubeconfig")
        found = yaml.safe_load(data.decode())
    except OSError as error:
        raise InvalidRequest(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{file}: not YAML ({clean(' '.join(str(error).split()), limit=200)})") from error
    if not isinstance(found, dict) or not isinstance(found.get("clusters"), list):
        raise InvalidRequest(f"{file}: no kubeconfig: it has no list of clusters")
    return found


def _entries(config: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    entries = config.get(kind)
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _named(config: Mapping[str, Any], kind: str, field: str, name: str, where: str) -> Mapping[str, Any]:
    for each in _entries(config, kind):
        if each.get("name") == name and isinstance(each.get(field), dict):
            found: Mapping[str, Any] = each[field]
            return found
    raise InvalidRequest(f"{where}: there is no {field} {name!r}")


def _server(where: str, cluster: Mapping[str, Any]) -> tuple[str, int, str]:
    try:
        url = urlsplit(str(cluster.get("server") or ""))
        port = url.port or 443
    except ValueError as error:
        raise InvalidRequest(f"{where}: server {cluster.get('server')!r}: {error}") from error
    if url.scheme != "https" or not url.hostname or url.username or url.query or url.fragment:
        raise InvalidRequest(f"{where}: server {cluster.get('server')!r} is not https://HOST, with a port or a path")
    if cluster.get("insecure-skip-tls-verify"):
        raise InvalidRequest(
            f"{where}: insecure-skip-tls-verify: the token would go to whoever answers; put the CA of the server into "
            "certificate-authority-data, or give --ca-file"
        )
    if cluster.get("proxy-url"):
        raise InvalidRequest(f"{where}: proxy-url: argosy reaches clusters directly only; leave it out where it can")
    if cluster.get("tls-server-name"):
        raise InvalidRequest(f"{where}: tls-server-name: not known to argosy; use a host that the certificate holds")
    return url.hostname, port, url.path.rstrip("/")


def _ca(file: Path, cluster: Mapping[str, Any]) -> str:
    if data := cluster.get("certificate-authority-data"):
        return _decoded(str(data), "certificate-authority-data")
    if name := cluster.get("certificate-authority"):
        return _text(file.parent / str(name), "certificate-authority")
    return ""


def _decoded(data: str, what: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except (Base64Error, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{what}: not base64 of PEM text") from error


def _text(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LIMIT).decode()
    except OSError as error:
        raise InvalidRequest(f"{what}: {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{what}: {file}: not text") from error


def _credentials(file: Path, user: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    if token := user.get("token"):
        return {"token": str(token).strip()}
    if name := user.get("tokenFile"):
        return {"token_file": str((file.parent / str(name)).resolve())}
    if isinstance(command := user.get("exec"), dict):
        return _command(command, cluster)
    for field, why in _REFUSED.items():
        if user.get(field):
            return {"refused": f"{field}: {why}"}
    return {"refused": "it has no credentials"}


_CERTIFICATE = "argosy uses no client certificates, because nobody can revoke one"
_REFUSED = {
    "client-certificate": _CERTIFICATE,
    "client-certificate-data": _CERTIFICATE,
    "auth-provider": "Kubernetes has no auth-provider since 1.26; use its successor, exec",
    "username": "Kubernetes has no passwords since 1.19",
}


_OWN = "client.authentication.k8s.io/exec"
"""Extension of a cluster that only plugins understand."""


def _command(given: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("interactiveMode") == "Always":
        return {"refused": "exec: interactiveMode Always: nobody is there to be asked"}
    if given.get("provideClusterInfo") and any(each.get("name") == _OWN for each in _entries(cluster, "extensions")):
        return {"refused": f"exec: its plugin reads {_OWN} of the cluster, which argosy does not keep"}
    if not given.get("command"):
        return {"refused": "exec: it names no command"}
    environment = given.get("env") or []
    pairs = [each for each in environment if isinstance(each, dict)] if isinstance(environment, list) else []
    return {
        "command": (str(given["command"]), *(str(each) for each in given.get("args") or [])),
        "environment": tuple(str(each.get("name")) for each in pairs),
    }
