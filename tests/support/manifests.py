"""Manifests that several kinds of tests launch."""

LONG = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: long-}
spec:
  entrypoint: long
  templates:
    - name: long
      container:
        image: alpine:3.22
        command: [sleep, "600"]
        env:
          - {name: ARGOSY_SECONDS, value: "600"}
"""
