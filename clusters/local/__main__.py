"""`python -m clusters.local build|up`: the local cluster for people, and for programs that read one line of JSON."""

import argparse
import dataclasses
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from argosy.errors import ArgosyError
from clusters.local import image, services
from clusters.local.build import ensure_argo, ensure_binaries, ensure_node, ensure_services
from clusters.local.cluster import LocalCluster
from clusters.local.node import unable


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _up(directory: Path | None, audit_log: Path | None, node: bool, archive: str | None) -> None:
    """Run a cluster until SIGTERM or SIGINT; its connection goes to standard output, everything else to standard error."""
    with LocalCluster(directory, audit_log, _say, node, archive) as cluster, suppress(KeyboardInterrupt):
        print(json.dumps(dataclasses.asdict(cluster.connection)), flush=True)
        _say(f"logs: {cluster.directory / 'logs'}")
        _say(f"talk to it: KUBECONFIG={cluster.connection.kubeconfig} {cluster.kubectl_path} get wf -n argosy")
        _say("Ctrl-C ends it and removes everything")
        signal.pause()
    _say("stopped")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command.

    Returns:
        0 when it did what was asked, and that includes a cluster that was ended by Ctrl-C; 1 after a failure, with the reason on
        standard error; 130 when it was interrupted before it was done.
    """
    parser = argparse.ArgumentParser(prog="python -m clusters.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing in the cache")
    build.add_argument("--node", action="store_true", help="what a real node needs, too")
    up = commands.add_parser("up", help="start a cluster, print its connection as one line of JSON, run until Ctrl-C")
    up.add_argument("--directory", type=Path, help="where its files go; must be empty, is removed at the end")
    up.add_argument(
        "--node", action="store_true", help="run pods on a real node; needs root and the right to make namespaces"
    )
    up.add_argument(
        "--archive",
        metavar="postgresql://…",
        help="with --node: an Argo Server, and this database for the workflows and node status that Argo keeps",
    )
    up.add_argument("--audit-log", type=Path, help="who created, changed or deleted what")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # a shell starts background jobs with SIGINT ignored
    try:
        if arguments.command == "build":
            ensure_binaries(_say)
            if arguments.node and (why := unable()):
                _say(f"{why}: nothing was built for it; pods are played here, and the tests of a real node are skipped")
            elif arguments.node:
                ensure_node(_say)
                ensure_argo(_say)
                if not services.unable():
                    ensure_services(_say)
                if not image.unable():
                    image.build(_say)
        else:
            _up(arguments.directory, arguments.audit_log, arguments.node, arguments.archive)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except ArgosyError as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
