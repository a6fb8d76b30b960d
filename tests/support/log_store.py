"""An artifact repository beside a real node, and a workflow whose log Argo stores there."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from clusters.local.cluster import LocalCluster

STORE = """
import http.server, sys
kept = {}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        size = self.headers.get('Content-Length')
        if size is not None:
            kept[self.path] = self.rfile.read(int(size))
        else:
            body = b''
            while (length := int(self.rfile.readline(), 16)):
                body += self.rfile.read(length); self.rfile.readline()
            kept[self.path] = body
        self.send_response(201); self.send_header('Content-Length', '0'); self.end_headers()
    def do_GET(self):
        body = kept.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header('Content-Length', str(len(body or b''))); self.end_headers(); self.wfile.write(body or b'')
http.server.ThreadingHTTPServer(('10.88.0.1', 8099), Handler).serve_forever()
"""
"""An artifact repository, in the node's network: it keeps what is put and gives it back."""

LOGGED = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: logged-}
spec:
  entrypoint: main
  podGC: {strategy: OnPodCompletion}
  templates:
    - name: main
      archiveLocation:
        archiveLogs: true
        artifactory:
          url: http://10.88.0.1:8099/logs/{{workflow.name}}/{{pod.name}}
          usernameSecret: {name: log-store, key: username}
          passwordSecret: {name: log-store, key: password}
      container: {image: 'busybox:1.35', command: [sh, -c], args: ['echo a word; echo another']}
"""


STORE_OBJECTS = """
apiVersion: v1
kind: Secret
metadata: {name: log-store, namespace: argosy}
stringData: {username: u, password: p}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argosy-pods, namespace: argosy}
data: {secrets: log-store, serviceAccounts: argosy-job default, volumeClaims: ""}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: log-store, namespace: argosy}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [log-store], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: log-store, namespace: argosy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: log-store}
subjects: [{kind: ServiceAccount, name: argosy, namespace: argosy}]
"""
"""The repository's Secret: pods name it, and Argo Server reads it with the caller's token."""


@pytest.fixture
def store(argo_node: LocalCluster) -> Iterator[None]:
    """The repository serves."""
    assert argo_node.node is not None
    argo_node.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=STORE_OBJECTS)
    command = argo_node.node.inside(sys.executable, "-c", STORE)
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()
