"""Input about clusters."""

import re
from ipaddress import ip_address
from typing import Annotated, Self, TypedDict

from pydantic import AfterValidator, Field, model_validator

from argosy.shapes.given import Deadline, Id, In, Labels, Limit, Name, Policy, Text, Token


def _host(value: str) -> str:
    if "/" in value or "[" in value:
        raise ValueError("write the name or address alone, without https://, a path or brackets")
    if value.count(":") == 1:
        raise ValueError(
            f"write the name or address alone; the port is a field of its own: port={value.partition(':')[2]}"
        )
    try:
        good = bool(ip_address(value)) if ":" in value else _HOST.fullmatch(value) is not None
    except ValueError:
        good = False
    if not good:
        raise ValueError("is neither a host name nor an IP address")
    return value


def _address(value: str) -> str:
    if (found := _URL.fullmatch(value)) is None:
        raise ValueError(
            "write https://HOST, https://HOST:PORT or either with a path, without a user, a query or a '#'"
        )
    _host(found["name"] or found["address"])
    if int(found["port"] or 1) not in range(1, 65536):
        raise ValueError(f"there is no port {found['port']}")
    return value.rstrip("/")


def _path(value: str) -> str:
    value = value.rstrip("/")
    if not _PATH.fullmatch(value):
        raise ValueError(
            "write it as /k8s/clusters/c-1: parts of letters, digits, '-', '.', '_' and '~', each after a '/'"
        )
    return value


def _certificates(value: str) -> str:
    if "PRIVATE KEY-----" in value:
        raise ValueError("holds a private key, which was not kept; give the certificate of the CA alone")
    # Remove everything outside of ASCII: it is a comment or a byte order mark, and TLS libraries refuse it.
    return value if value.isascii() else "\n".join(_CERTIFICATE.findall(value)) or "-"


def _dns_label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("a name there has lower-case letters, digits and '-' (inside) only, at most 63")
    return value


def _dns_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name there has lower-case letters, digits, '-' and '.' (inside) only, at most 253")
    return value


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_URL = re.compile(
    r"https://(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")


class TokenSource(In):
    """Where each process gets a cluster's token anew: from a file, or of a credential plugin, with its arguments."""

    file: Annotated[Text, Field(max_length=4000)] = ""
    command: Annotated[list[Annotated[Text, Field(max_length=4000)]], Field(max_length=100)] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.file) == bool(self.command):
            raise ValueError("give either a file or a command")
        return self


class ClusterSpec(In):
    """The fields of a JobCluster. `host` null means the cluster that argosy runs in; `token` is never shown again. `path` is before that of
    its Kubernetes API, where a proxy serves several clusters. Instead of `token`, `token_source` says where processes get it anew.

    `argo_server` is the address of an Argo Server that argosy may ask with the same token, `argo_server_ca` its CA, empty for the system's.
    `max_active` limits its unfinished workflows, `project_max_active` those of each project; the deadlines are upper limits of the
    algorithms' deadlines. With `pace` it gets only as many workflows as its Argo keeps up with, at most `max_active`. With `logs` it is
    asked for the logs of jobs' pods; where its token has no permission for that, there are none.
    """

    name: Name
    host: Annotated[Text, AfterValidator(_host)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    path: Annotated[Text, Field(max_length=1000), AfterValidator(_path)] = ""
    cert: Annotated[Text, AfterValidator(_certificates)] = ""
    token: Token = Field(default="", repr=False)
    token_source: TokenSource | None = None
    organization: Id | None = None
    namespace: Annotated[Text, AfterValidator(_dns_label)] = "argosy"
    service_account: Annotated[Text, AfterValidator(_dns_name)] | None = None
    default: bool = False
    finalizer: bool = True
    token_in_clear: bool = False
    logs: bool = True
    argo_server: Annotated[Text, Field(max_length=1000), AfterValidator(lambda url: url and _address(url))] = ""
    argo_server_ca: Annotated[Text, AfterValidator(_certificates)] = ""
    policy: Policy = Policy()
    max_active: Limit = 500
    project_max_active: Limit | None = None
    pending_deadline: Deadline = None
    run_deadline: Deadline = None
    pace: bool = True
    labels: Labels = Field(default_factory=dict)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.token and self.token_source:
            raise ValueError("give token or token_source, not both")
        if self.host is not None and not (self.token or self.token_source):
            raise ValueError("token: required field is missing")
        if self.host is not None and not self.cert:
            raise ValueError("cert: required field is missing (the CA of the cluster's API server, PEM)")
        if self.argo_server_ca and not self.argo_server:
            raise ValueError("argo_server: required field is missing (a CA for it is given)")
        return self


class ClusterFields(TypedDict, total=False):
    """The fields of `ClusterSpec`, as keywords."""

    name: Name
    host: Text | None
    port: int
    path: Text
    cert: Text
    token: Token
    token_source: TokenSource | None
    organization: Id | None
    namespace: Text
    service_account: Text | None
    default: bool
    finalizer: bool
    token_in_clear: bool
    logs: bool
    argo_server: Text
    argo_server_ca: Text
    policy: Policy
    max_active: Limit
    project_max_active: Limit | None
    pending_deadline: Deadline
    run_deadline: Deadline
    pace: bool
    labels: Labels
