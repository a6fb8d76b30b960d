"""What argosy's ServiceAccount is granted on a JobCluster, by clusters/jobcluster.yaml, and what it used, by the apiserver's audit log: in
one world, and in all worlds of a run together."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from clusters.local.cluster import LocalCluster

ROOT = Path(__file__).parents[2]

Right = tuple[str, str, str]
"""Group, resource, verb."""


def granted() -> set[Right]:
    """What the Roles of ServiceAccount `argosy` say."""
    documents = [each for each in yaml.safe_load_all((ROOT / "clusters/jobcluster.yaml").read_text()) if each]
    roles = {
        each["roleRef"]["name"]
        for each in documents
        if each["kind"] == "RoleBinding" and any(subject["name"] == "argosy" for subject in each["subjects"])
    }
    return {
        (group, resource, verb)
        for each in documents
        if each["kind"] == "Role" and each["metadata"]["name"] in roles
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(local: LocalCluster, after: int = 0) -> set[Right]:
    """What argosy's ServiceAccount asked of its namespace, allowed or not.

    Args:
        local: The control plane.
        after: Bytes of the audit log to leave out.
    """
    assert local.audit_log is not None
    here = local.connection.namespace
    return {right for right, namespace in _asked(local.audit_log, here, after) if namespace == here}


def not_granted(local: LocalCluster) -> set[tuple[Right, str]]:
    """What argosy has asked for as long as the control plane lived, and has no right to: by its verb, or because it asked all namespaces.
    What tests ask with its token to see it refused is left out: that does not come from argosy's own connections."""
    allowed = granted()
    return {
        (right, namespace)
        for right, namespace in _all_asked(local)
        if right not in (EVERYBODYS, _OF_ARGO_SERVER) and (right not in allowed or not namespace)
    }


EVERYBODYS = ("authorization.k8s.io", "selfsubjectaccessreviews", "create")
"""Kubernetes grants it to all that it knows."""

_OF_ARGO_SERVER = ("", "version", "list")
"""How the apiserver understands the first question to an Argo Server, where a test gives the apiserver's address as that of one."""


def settle(config: pytest.Config, local: LocalCluster) -> None:
    """At the end of a control plane: nothing was asked of it without a right, and what was asked counts as used in this run."""
    lacking = not_granted(local)
    assert not lacking, f"asked for without a right: {lacking}"
    config.stash[_USED] |= {right for right, namespace in _all_asked(local) if namespace == local.connection.namespace}


_USED = pytest.StashKey[set[Right]]()


class Tally:
    """A pytest plugin: adds up what was used in all worlds of a run, and fails the run on a right that no test used. A world is the run
    itself or a process of pytest-xdist. Only a run of all these files, without a failure and with no test left out, can say that.

    Args:
        config: Of this process.
        allowed: The rights.
        files: The files of tests that use them.
    """

    def __init__(self, config: pytest.Config, allowed: Set[Right], files: Set[Path]) -> None:
        self._config, self._allowed, self._files = config, allowed, files
        self._seen: set[Path] = set()
        self._left_out = False
        self._said = ""
        config.stash[_USED] = set()

    def pytest_deselected(self) -> None:
        """Tests are left out, by -k, -m, --deselect or --last-failed."""
        self._left_out = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test of a file has run, here or in a world."""
        self._seen.add(self._config.rootpath / report.nodeid.partition("::")[0])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A world has ended. One that was killed says nothing, and then the run has failed."""
        used, left_out = getattr(node, "workeroutput", {}).get("rights", ([], True))
        self._config.stash[_USED].update(map(tuple, used))
        self._left_out |= left_out

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Say what was used here to who adds it up, or add it up."""
        here = self._config.stash[_USED]
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["rights"] = sorted(map(list, here)), self._left_out
            return
        if exitstatus == pytest.ExitCode.OK and not self._left_out and self._files <= self._seen:
            unused = sorted(self._allowed - here)
            self._said = f"{len(self._allowed) - len(unused)} of {len(self._allowed)} rights were used"
            if unused:
                self._said += "; granted in clusters/jobcluster.yaml and used by no test: " + ", ".join(
                    map(str, unused)
                )
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how it is."""
        if self._said:
            terminalreporter.section("rights on a JobCluster")
            terminalreporter.write_line(self._said)


def _all_asked(local: LocalCluster) -> set[tuple[Right, str]]:
    """What argosy has asked, and of which namespace, as long as the control plane lived."""
    assert local.audit_log is not None
    log = local.audit_log
    parts = log.parent.glob(f"{log.stem}*{log.suffix}")  # it is rotated when it is large
    return {each for part in parts for each in _asked(part, local.connection.namespace)}


def _asked(log: Path, of: str, after: int = 0) -> Iterator[tuple[Right, str]]:
    user = f"system:serviceaccount:{of}:argosy"
    with log.open("rb") as lines:
        lines.seek(after)
        for line in lines:
            if user.encode() not in line or not line.endswith(b"\n"):
                continue
            record = orjson.loads(line)
            what = record.get("objectRef")
            if what and record["user"]["username"] == user and record["userAgent"].startswith("argosy/"):
                resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
                yield (what.get("apiGroup", ""), resource, record["verb"]), what.get("namespace", "")
