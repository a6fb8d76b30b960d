"""Manifests and frames that the tests of this room share."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from argosy.manifest import LaunchFrame, Renderer
from argosy.manifest.scalars import Scalar
from argosy.shapes.given import Policy

GID = UUID("0b1e8f0a-e7be-11f1-a60a-02fc00000001")
SECRET_ID = UUID("5f0c2a53-6a52-4b0c-9d3b-0c8f6a1b2c3d")
UID = UUID("0b1e8f0b-e7be-11f1-a60a-02fc00000001")
TOKEN = "{{workflow.parameters.rest_token}}"

HEAD = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: main
"""

ONE_CONTAINER = (
    HEAD
    + """\
  templates:
    - name: main
      container:
        image: alpine
"""
)
"""Its last line is line 8."""

TATOR = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata:
  generateName: thumbnails-
  labels: {gid: mine, uid: mine}
  annotations: {media_ids: none, workflows.argoproj.io/x: y}
spec:
  entrypoint: pipeline
  onExit: clean-up
  ttlSecondsAfterFinished: 300
  volumes:
    - name: scratch
      emptyDir:
    - name: data
      hostPath: {path: /data}
  volumeClaimTemplates:
    - metadata: {name: work}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 10Gi}}
  arguments:
    parameters:
      - {name: rest_token, value: ""}
      - {name: threshold, value: 0.5}
      - {name: model, value: small}
  templates:
    - name: pipeline
      steps:
        - - {name: fetch, template: worker}
        - - {name: run, template: scripted}
    - name: worker
      container:
        image: worker
        resources: {limits: {cpu: 0.5, memory: 1Gi}}
        env: &env
          - {name: TOKEN, value: "{{workflow.parameters.rest_token}}"}
          - {name: MEDIA_IDS, value: "{{workflow.parameters.media_ids}}"}
          - {name: REST_URL, value: "{{workflow.parameters.rest_url}}"}
          - {name: PROJECT_ID, value: "{{workflow.parameters.project_id}}"}
          - {name: HOST, value: "{{workflow.parameters.host}}"}
        volumeMounts:
          - {name: scratch, mountPath: /scratch}
    - name: scripted
      script:
        image: python:3.12-slim
        command: [python]
        env: *env
        source: |
          import os
          print(os.environ["TOKEN"] and "threshold {{workflow.parameters.threshold}}")
    - name: clean-up
      container: {image: alpine, command: [echo, "{{workflow.status}}"]}
"""


@dataclass(frozen=True)
class Value:
    """A parameter as a request carries it."""

    name: str
    value: Scalar


def frame(manifest: str = ONE_CONTAINER, **changes: Any) -> LaunchFrame:
    """A launch frame around a manifest."""
    base = LaunchFrame(
        gid=GID,
        secret_id=SECRET_ID,
        project=4,
        user=7,
        algorithm_id=12,
        algorithm_name="Find fish",
        manifest=manifest,
        parameters=[("model", "large"), ("crop", "no")],
        installation="argosy",
        host="https://tator.example",
        rest_url="https://tator.example/rest",
        tus_url="https://tator.example/files/",
        service_account=None,
        policy=Policy(profile="trusted"),
        finalizer=True,
    )
    return replace(base, **changes)


def rendered(manifest: str = ONE_CONTAINER, **changes: Any) -> dict[str, Any]:
    """The workflow that a frame renders for attempt 1 of media 5, 3 and 9."""
    body: dict[str, Any] = orjson.loads(Renderer(frame(manifest, **changes)).render(UID, 1, [5, 3, 9]).body)
    return body
