"""Manifests of some kilobytes that once held lint for seconds, because what they cost grew with the square of their size."""

_HEAD = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  entrypoint: main
  templates:
    - name: main
      container:
        image: alpine
"""


def _many(count: int, each: str) -> str:
    return "".join(each.replace("AT", str(at)).replace("LAST", str(at - 1)) for at in range(count))


MANIFESTS = {
    "dag": "    - name: d\n      dag:\n        tasks:\n          - {name: a-1, template: main}\n"
    + _many(600, "          - {name: aAT, template: main, dependencies: [aLAST], when: '{{tasks.a0.status}} == x'}\n"),
    "steps": "    - name: s\n      steps:\n"
    + _many(600, "        - - {name: aAT, template: main, when: '{{steps.a0.status}} == x'}\n"),
    "mounts": _many(600, "    - {name: tAT, container: {image: a, volumeMounts: [{name: vAT, mountPath: /v}]}}\n")
    + "  volumes:\n"
    + _many(600, "    - {name: vAT, emptyDir: {}}\n"),
    "volumes": "  volumes:\n" + _many(1500, "    - {name: vAT, hostPath: {path: /}}\n"),
    "containers": "    - name: c\n      containerSet:\n        containers:\n"
    + _many(600, "          - {name: cAT, image: a, dependencies: [cLAST]}\n"),
    "tokens": "    - name: w\n      inputs:\n        parameters:\n"
    + _many(800, "          - {name: pAT, default: '{{workflow.parameters.rest_token}}'}\n")
    + "      container:\n        image: a\n        args:\n"
    + _many(800, "          - '{{inputs.parameters.pAT}}'\n"),
    "names": _many(1500, "  TEMPLATEDEFAULTSAT: {}\n"),
}
MANIFESTS = {name: _HEAD + tail for name, tail in MANIFESTS.items()}
