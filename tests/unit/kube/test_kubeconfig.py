"""What a kubeconfig says of a cluster, and what is not taken from one."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.errors import InvalidRequest
from argosy.kube import kubeconfig
from tests.support.certificates import PEM

EKS = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "args": ["eks", "get-token"]}


def written(tmp_path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    cluster = {"server": "https://k8s.example.org:6443", "certificate-authority": "ca.crt"} | cluster
    context = {"cluster": "c", "user": "u", "namespace": "vision"}
    config = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": context}, {"name": "lost", "context": {"cluster": "gone"}}],
        "current-context": "x",
    }
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    return tmp_path / "config"


def test_the_ca_comes_from_data_or_from_the_file_beside_it(tmp_path: Path) -> None:
    found = kubeconfig.read(written(tmp_path, {"token": "t"}))
    assert (found.host, found.port, found.path, found.ca) == ("k8s.example.org", 6443, "", PEM)
    assert (found.token, found.namespace) == ("t", "vision")
    data = b64encode(b"other").decode()
    assert kubeconfig.read(written(tmp_path, {}, **{"certificate-authority-data": data})).ca == "other"


@pytest.mark.parametrize(
    ("server", "host", "port", "path"),
    [
        ("https://rancher.example.org/k8s/clusters/c-1/", "rancher.example.org", 443, "/k8s/clusters/c-1"),
        ("https://[fd00::1]:6443", "fd00::1", 6443, ""),
        ("https://10.0.0.1", "10.0.0.1", 443, ""),
    ],
)
def test_an_address_has_a_path_or_is_one_of_ipv6(tmp_path: Path, server: str, host: str, port: int, path: str) -> None:
    found = kubeconfig.read(written(tmp_path, {}, server=server))
    assert (found.host, found.port, found.path) == (host, port, path)


def test_credentials_are_a_token_a_file_or_a_command(tmp_path: Path) -> None:
    found = kubeconfig.read(written(tmp_path, {"exec": EKS | {"env": [{"name": "AWS_PROFILE", "value": "p"}]}}))
    assert (found.command, found.environment) == (("aws", "eks", "get-token"), ("AWS_PROFILE",))
    assert kubeconfig.read(written(tmp_path, {"tokenFile": "token"})).token_file == str(tmp_path / "token")


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ({"client-certificate-data": "x", "client-key-data": "y"}, "no client certificates"),
        ({"auth-provider": {"name": "gcp"}}, "exec"),
        ({"username": "u", "password": "p"}, "passwords"),
        ({"exec": EKS | {"interactiveMode": "Always"}}, "nobody is there"),
        ({"exec": {"args": []}}, "no command"),
        ({}, "no credentials"),
    ],
)
def test_other_credentials_are_refused_with_the_reason(tmp_path: Path, user: dict[str, Any], why: str) -> None:
    assert why in kubeconfig.read(written(tmp_path, user)).refused


def test_a_plugin_is_told_its_cluster_but_not_what_only_it_understands(tmp_path: Path) -> None:
    user = {"exec": EKS | {"provideClusterInfo": True}}
    assert kubeconfig.read(written(tmp_path, user)).command == ("aws", "eks", "get-token")
    own = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    assert "which argosy does not keep" in kubeconfig.read(written(tmp_path, user, extensions=own)).refused
    assert kubeconfig.read(written(tmp_path, {"exec": EKS}, extensions=own)).refused == ""


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"server": "http://k8s.example.org"}, "https://"),
        ({"server": "https://user:pw@k8s.example.org"}, "https://"),
        ({"server": "https://k8s.example.org:x"}, "server"),
        ({"insecure-skip-tls-verify": True}, "whoever answers"),
        ({"proxy-url": "http://proxy"}, "proxy-url"),
        ({"tls-server-name": "other"}, "tls-server-name"),
        ({"certificate-authority": "gone.crt"}, "No such file"),
        ({"certificate-authority-data": "%%%"}, "base64"),
    ],
)
def test_a_way_that_would_give_the_token_to_others_is_refused(
    tmp_path: Path, cluster: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        kubeconfig.read(written(tmp_path, {"token": "t"}, **cluster))


def test_a_context_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    file = written(tmp_path, {"token": "t"})
    with pytest.raises(InvalidRequest, match="contexts x, lost"):
        kubeconfig.read(file, "nope")
    with pytest.raises(InvalidRequest, match="no cluster 'gone'"):
        kubeconfig.read(file, "lost")


@pytest.mark.parametrize("text", ["", "[1]", "a: b", "\x00", "clusters: 7", "{", "clusters: [7]\ncontexts: 3"])
def test_what_is_no_kubeconfig_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(InvalidRequest, match="config"):
        kubeconfig.read(tmp_path / "config")
