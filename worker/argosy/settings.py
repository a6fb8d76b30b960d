"""All that an operator can set, as one typed object read from `ARGOSY_…` environment variables, or from files in SECRETS.

One object is passed to all code, and no module reads the environment itself, so a test, the demo and a pod are configured in the same way.
Secrets are `SecretStr`, so that printed settings do not show them.
"""

import os
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from argosy.crypto import public_key
from argosy.errors import NotConfigured
from argosy.inputs import faults

SECRETS = Path("/run/secrets/argosy")
"""Where a setting may be a file, named as its variable in small letters: `argosy_keys`. A variable wins over a file."""


class Settings(BaseSettings):
    """Settings of every argosy process; each field is the environment variable `ARGOSY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ARGOSY_", extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr = Field(description="PostgreSQL, as postgresql://user:password@host:port/database")
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis or Valkey, Dramatiq's transport"
    )
    keys: Annotated[list[SecretStr], NoDecode] = Field(
        default=[], description="Fernet keys for cluster credentials, newest first, separated by commas"
    )
    token_private_key: SecretStr | None = Field(
        default=None,
        description="Base64 X25519 private keys that open sealed launch tokens, newest first, by commas; workers, and trackers for what "
        "mails attach",
    )
    token_public_key: str | None = Field(
        default=None, description="Base64 X25519 public key to which launch tokens are sealed; all that a caller needs"
    )
    host: str = Field(
        default="http://localhost:8080", description="Address of the platform, given to workflows as `host`"
    )
    rest_url: str = Field(
        default="http://localhost:8080/rest",
        description="API server's REST root, given to workflows as `rest_url`, and where media queries are resolved",
    )
    tus_url: str = Field(default="http://localhost:8080/files/", description="Upload server, given to workflows")
    auth: str = Field(
        default="platform",
        pattern="^(platform|tokens)$",
        description="Who may call `argosy api`: users of the platform, or owners of argosy's own tokens",
    )
    token_commands: Annotated[list[str], NoDecode] = Field(
        default=[], description="Credential plugins, by commas, that may be run for the tokens of clusters"
    )
    token_directory: str = Field(
        default="", description="Directory below which files with tokens of clusters may be read"
    )
    trusted_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Hosts of clusters and of the platform, by commas, that may be on this machine, the platform's also asked by plain "
        "http; others may be in a private network, but not here, and only by https",
    )
    upload_hosts: Annotated[list[str], NoDecode] = Field(
        default=[], description="Hosts, besides the platform's, from which uploaded manifests are fetched, by commas"
    )
    api_threads: int = Field(default=16, ge=1, le=200, description="Requests that `argosy api` works on at a time")
    api_rate: float = Field(
        default=50.0, gt=0, description="Requests a second that one caller of `argosy api` may send"
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default=["127.0.0.1", "::1"],
        description="Addresses or networks, by commas, of proxies before `argosy api` whose X-Forwarded-For is believed",
    )
    rest_days: int = Field(default=7, ge=0, description="Days for which ended jobs are in the platform's job list")
    rest_status: bool = Field(
        default=False,
        description="Whether /rest shows each job's true status, which the platform's pages take for a failure",
    )
    media_page: int = Field(default=5000, ge=1, description="Media asked for in one page of a query")
    media_page_bytes: int = Field(default=64 << 20, ge=1, description="Largest page of media accepted, bytes")
    media_max: int = Field(default=5_000_000, ge=1, description="Largest number of media in one launch")
    claim_lease: float = Field(  # a shorter one is over before its creates are sent
        default=15.0, ge=4, le=300, description="Seconds until a silent worker's claim may be taken over"
    )
    claim_batch: int = Field(default=64, ge=1, le=1000, description="Jobs claimed in one transaction")
    creates_in_flight: int = Field(
        default=64, ge=1, le=1000, description="Concurrent creates on one cluster, a process"
    )
    tracker_lease: float = Field(
        default=10.0, ge=3, le=300, description="Seconds until a silent tracker's cluster is taken over"
    )
    webhook_key: SecretStr | None = Field(
        default=None,
        description="Keys that projects' own are made from, which sign webhooks: whsec_ and base64, newest first, by commas; trackers only",
    )
    webhook_hosts: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Hosts of your own network, by commas, that webhooks may go to, also by plain http; others must be public, by https",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server, as smtps://user:password@host:465 (TLS) or smtp://user:password@host:587 (STARTTLS); trackers only",
    )
    mail_from: str = Field(
        default="", description='Sender of mails, as "Name <mail>" or mail; with it, `argosy api` takes mails to send'
    )
    mail_domains: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Domains, by commas, to which mails may go; default: all, but with `ARGOSY_AUTH=tokens` none that comes over HTTP",
    )
    release_after: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that an ended workflow stays on its cluster after its end was committed, so that a fail-over of the database "
        "that loses its last commits loses no end and runs nothing twice",
    )
    log_tail: int = Field(
        default=64 << 10,
        ge=0,
        le=1 << 20,
        description="Bytes that are kept of the end of the log of each container that failed; 0 keeps none",
    )
    connect_timeout: float = Field(default=3.0, gt=0, description="Seconds to connect to a cluster")
    request_timeout: float = Field(default=10.0, gt=0, description="Seconds for one whole request to a cluster")
    housekeeping_interval: float = Field(default=2.0, gt=0, description="Seconds between two rounds of housekeeping")
    retention_days: int = Field(
        default=90,
        ge=1,
        description="Days after which ended launches are forgotten, and older gids refused; the same everywhere",
    )
    metrics_port: int = Field(
        default=9191, ge=0, le=65535, description="Port of /livez, /readyz and /metrics of this process"
    )
    metrics_host: str = Field(default="0.0.0.0", description="Address that port is on")  # noqa: S104
    metrics_directory: Path | None = Field(
        default=None, description="Where multiprocess metrics are kept; default: temporary"
    )
    log_format: str = Field(default="json", pattern="^(json|console)$", description="json, or console for people")
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe lines that are logged"
    )

    @field_validator(
        "keys",
        "trusted_hosts",
        "upload_hosts",
        "token_commands",
        "trusted_proxies",
        "webhook_hosts",
        "mail_domains",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ip_network(network)  # the server would take what is none for a name, and never meet it
        return value

    @model_validator(mode="after")
    def _public_of_private(self) -> Self:
        """Who has the private key can seal, too."""
        if self.token_public_key is None and self.token_private_key is not None:
            self.token_public_key = public_key(self.token_private_key)
        return self

    @property
    def travel(self) -> float:
        """Seconds after the end of its claim during which a create that was sent may still arrive. With the default this is the minute
        after which an apiserver gives a request up."""
        return 6 * self.request_timeout


def in_cluster() -> bool:
    """Whether this process runs in a pod; Kubernetes sets the variable in each."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


@cache
def load() -> Settings:
    """The settings of this process.

    Raises:
        NotConfigured: A variable is missing or its value cannot be used; the message names it.
    """
    try:
        return Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
    except ValidationError as error:
        where, why = faults(error)[0]
        why = "not set" if error.errors()[0]["type"] == "missing" else why
        name = "ARGOSY_" + where.replace(".", "_").upper()
        raise NotConfigured(f"{name}: {why}; set it in the environment (see worker/docs/settings.md)") from None
