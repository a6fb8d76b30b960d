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
    "calls": "    - name: t\n      inputs:\n        parameters:\n"
    + _many(900, "          - {name: pAT, value: ''}\n")
    + "      container: {image: a}\n    - name: s\n      steps:\n"
    + _many(900, "        - - {name: sAT, template: t, withItems: [{a: 1}]}\n"),
    "tokens-to-calls": "    - name: t\n      inputs:\n        parameters:\n"
    + _many(900, "          - {name: pAT, value: '{{workflow.parameters.rest_token}}'}\n")
    + "      container: {image: a}\n    - name: s\n      steps:\n"
    + _many(900, "        - - {name: sAT, template: t}\n"),
    "merges": "  podMetadata:\n    labels:\n      <<:\n" + _many(5000, "        - {aAT: x}\n"),
    "labels": "      metadata:\n        labels:\n" + _many(4000, "          aAT: '{{workflow.parameters.pAT}}'\n"),
    "findings": "      metadata:\n        labels:\n"
    + _many(6000, "          aAT: x\n")
    + _many(200, "          bAT: '{{inputs.parameters.q}}'\n"),
    "texts-in-a-row": '        args: ["{{=x in [' + "'' " * 300 + 'x}}"]\n',
    "letters": "        args:\n" + _many(480, "          - '{{=" + "x" * 990 + "}}'\n"),
    "blanks": "        args:\n" + _many(200, "          - '{{=x" + " " * 980 + "y}}'\n"),
    "open-tags": "    - {name: s, steps: [[{name: a, template: main, when: '" + "{{" * 100_000 + "'}]]}\n",
    "names": _many(1500, "  TEMPLATEDEFAULTSAT: {}\n"),
}
MANIFESTS = {name: _HEAD + tail for name, tail in MANIFESTS.items()}
