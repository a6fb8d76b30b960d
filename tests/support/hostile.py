"""Manifests that mean harm: to argosy, to the controller that all share, to other tenants, to the node. `restricted` must refuse each.

Written from what was tried on a real apiserver and controller. `spec`, `template` and `container` are put where such fields may be; a
template also into the defaults, into an inline step and an inline task.
"""

from collections.abc import Iterator
from typing import Any

import yaml

SPEC = {
    "runs-as-argosy": "serviceAccountName: argosy",
    "runs-as-another": "serviceAccountName: admin",
    "runs-as-a-parameter": 'serviceAccountName: "{{workflow.parameters.who}}"',
    "executor-as-argosy": "executor: {serviceAccountName: argosy}",
    "patch": 'podSpecPatch: "{serviceAccountName: argosy}"',
    "patch-from-a-parameter": 'podSpecPatch: "{{workflow.parameters.patch}}"',
    "gc-patch": 'artifactGC: {strategy: OnWorkflowDeletion, podSpecPatch: "{hostNetwork: true}"}',
    "gc-account": "artifactGC: {strategy: OnWorkflowDeletion, serviceAccountName: argosy}",
    "gc-metadata": "artifactGC: {podMetadata: {labels: {workflows.argoproj.io/workflow: victim}}}",
    "host-network": "hostNetwork: true",
    "pull-secret-of-argosy": "imagePullSecrets: [{name: argosy-7233a659-e7c1-11f1-8ce4-addc122c18c0}]",
    "pull-secret-of-another": "imagePullSecrets: [{name: somebodys}]",
    "priority-class": "podPriorityClassName: system-node-critical",
    "priority": "priority: 1000000",
    "scheduler": "schedulerName: mine",
    "toleration-of-all": "tolerations: [{operator: Exists}]",
    "toleration": "tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]",
    "node": "nodeSelector: {kubernetes.io/hostname: node-1}",
    "node-by-parameter": 'nodeSelector: {"{{workflow.parameters.x}}": "1"}',
    "node-affinity": "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
    "[{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n]}]}]}}}",
    "node-affinity-by-field": "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
    "[{matchFields: [{key: metadata.name, operator: In, values: [n]}]}]}}}",
    "keeps-others-off": "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
    "[{topologyKey: kubernetes.io/hostname, namespaces: [kube-system], labelSelector: {}}]}}",
    "suspended-for-ever": "suspend: true",
    "suspended-with-a-deadline": "{suspend: true, activeDeadlineSeconds: 60}",
    "all-namespaces": "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
    "[{topologyKey: kubernetes.io/hostname, namespaceSelector: {}}]}}",
    "suspended-exit-handler": "{onExit: w, activeDeadlineSeconds: 60, "
    "templates: [{name: main, container: {image: a}}, {name: w, suspend: {}}]}",
    "handler-of-a-step-that-waits": "{activeDeadlineSeconds: 60, templates: [{name: main, steps: "
    "[[{name: a, template: c, onExit: w}]]}, {name: c, container: {image: a}}, {name: w, suspend: {}}]}",
    "value-that-comes-back-by-its-global-name": "templates: [{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: "
    "[[{name: s, template: w}]], outputs: {parameters: [{name: o, globalName: g, valueFrom: {expression: inputs.parameters.x}}]}}, "
    "{name: w, suspend: {duration: '1'}}, {name: other, steps: [[{name: a, template: main, arguments: {parameters: "
    "[{name: x, value: '{{workflow.outputs.parameters.g}}{{workflow.outputs.parameters.g}}'}]}}]]}]",
    "memory-in-three-places": "{volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 3Gi}}], templates: [{name: main, container: "
    "{image: a}, volumes: [{name: w, emptyDir: {medium: Memory, sizeLimit: 3Gi}}]}]}",
    "mutex-elsewhere": "synchronization: {mutex: {name: m, namespace: other}}",
    "mutexes-elsewhere": "synchronization: {mutexes: [{name: m, namespace: other}]}",
    "semaphore-elsewhere": "synchronization: {semaphore: {namespace: other, configMapKeyRef: {name: c, key: k}}}",
    "mutex-in-a-database": "synchronization: {mutex: {name: m, database: true}}",
    "metrics": "metrics: {prometheus: [{name: x, help: x, counter: {value: '1'}}]}",
    "disruption-budget": "podDisruptionBudget: {minAvailable: 100%, selector: {matchLabels: {a: b}}}",
    "pod-labels": "podMetadata: {labels: {workflows.argoproj.io/workflow: victim}}",
    "pod-annotations": "podMetadata: {annotations: {workflows.argoproj.io/node-id: victim-1, workflows.argoproj.io/node-name: victim}}",
    "completed": "podMetadata: {labels: {workflows.argoproj.io/completed: 'true'}}",
    "instance": "podMetadata: {labels: {workflows.argoproj.io/controller-instanceid: mine}}",
    "our-labels": "podMetadata: {labels: {argosy.dev/installation: other}}",
    "tators-labels": "podMetadata: {labels: {uid: 7233a659-e7c1-11f1-8ce4-addc122c18c0}}",
    "label-key-by-parameter": "podMetadata: {labels: {'{{workflow.parameters.k}}': v}}",
    "apparmor-by-annotation": "podMetadata: {annotations: {container.apparmor.security.beta.kubernetes.io/main: unconfined}}",
    "another-repository": "artifactRepositoryRef: {configMap: others, key: k}",
    "workflow-template": "workflowTemplateRef: {name: somebodys}",
    "cluster-workflow-template": "workflowTemplateRef: {name: somebodys, clusterScope: true}",
    "sysctls": "securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}",
    "pod-unconfined": "securityContext: {seccompProfile: {type: Unconfined}}",
    "pod-apparmor": "securityContext: {appArmorProfile: {type: Unconfined}}",
    "pod-selinux": "securityContext: {seLinuxOptions: {type: spc_t}}",
    "windows-host": "securityContext: {windowsOptions: {hostProcess: true}}",
    "argument-is-evaluated": "arguments: {parameters: [{name: a, value: '{{=1+1}}'}]}",
    "argument-from-an-event": "arguments: {parameters: [{name: a, valueFrom: {event: payload}}]}",
    "exit-hook-expression": "hooks: {x: {template: main, expression: \"sprig.getHostByName('x') == ''\"}}",
    "claim-of-anothers-volume": "volumeClaimTemplates: [{metadata: {name: v}, spec: {volumeName: others, accessModes: [ReadWriteOnce], "
    "resources: {requests: {storage: 1Gi}}}}]",
    "claim-copies-anothers": "volumeClaimTemplates: [{metadata: {name: v}, spec: {dataSource: {kind: PersistentVolumeClaim, name: o}}}]",
    "claim-copies-from-elsewhere": "volumeClaimTemplates: [{metadata: {name: v}, spec: {dataSourceRef: "
    "{kind: PersistentVolumeClaim, name: o, namespace: other}}}]",
    "claim-with-an-owner": "volumeClaimTemplates: [{metadata: {name: v, ownerReferences: [{kind: Node, name: n, uid: u}]}}]",
    "claim-with-a-finalizer": "volumeClaimTemplates: [{metadata: {name: v, finalizers: [x/y]}}]",
    "claim-in-another-namespace": "volumeClaimTemplates: [{metadata: {name: v, namespace: other}}]",
}

TEMPLATE = {
    "runs-as-argosy": "serviceAccountName: argosy",
    "runs-as-another": "serviceAccountName: admin",
    "executor-as-argosy": "executor: {serviceAccountName: argosy}",
    "patch": 'podSpecPatch: "{containers: [{name: main, securityContext: {privileged: true}}]}"',
    "priority-class": "priorityClassName: system-node-critical",
    "scheduler": "schedulerName: mine",
    "toleration": "tolerations: [{operator: Exists}]",
    "node": "nodeSelector: {kubernetes.io/hostname: node-1}",
    "labels": "metadata: {labels: {workflows.argoproj.io/workflow: victim}}",
    "annotations": "metadata: {annotations: {workflows.argoproj.io/node-id: victim-1}}",
    "evictable": "metadata: {annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: 'true'}}",
    "apparmor-by-annotation": "metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/main: unconfined}}",
    "metrics": "metrics: {prometheus: [{name: x, help: x, counter: {value: '1'}}]}",
    "mutex-elsewhere": "synchronization: {mutex: {name: m, namespace: other}}",
    "memo": "memoize: {key: k, cache: {configMap: {name: others, key: k}}}",
    "init-privileged": "initContainers: [{name: i, image: a, securityContext: {privileged: true}}]",
    "sidecar-privileged": "sidecars: [{name: s, image: a, securityContext: {privileged: true}}]",
    "init-capabilities": "initContainers: [{name: i, image: a, securityContext: {capabilities: {add: [SYS_ADMIN]}}}]",
    "sidecar-capabilities": "sidecars: [{name: s, image: a, securityContext: {capabilities: {add: [ALL]}}}]",
    "retry-expression": "retryStrategy: {limit: 1, expression: \"len(repeat('a', 1000000000)) > 0\"}",
    "expression-of-a-gigabyte": "outputs: {parameters: [{name: o, value: \"{{=len(sprig.repeat(1000000000, 'a'))}}\"}]}",
    "expression-asks-the-network": "outputs: {parameters: [{name: o, value: \"{{=sprig.getHostByName('x')}}\"}]}",
    "expression-reads-the-environment": "outputs: {parameters: [{name: o, value: \"{{=sprig.env('HOME')}}\"}]}",
    "expression-of-a-range": 'outputs: {parameters: [{name: o, value: "{{=len(1..100000000)}}"}]}',
    "expression-of-a-closure": "outputs: {parameters: [{name: o, value: \"{{=len(map(1..9, {'a'}))}}\"}]}",
    "expression-by-a-pipe": "outputs: {parameters: [{name: o, value: \"{{='a' | repeat(1000000)}}\"}]}",
    "expression-put-together": "outputs: {parameters: [{name: o, value: \"{{=len('{{workflow.parameters.x}}')}}\"}]}",
    "expression-without-an-end": "outputs: {parameters: [{name: o, value: \"{{= sprig.repeat(9, 'a')\"}]}",
    "expression-in-a-comment": "outputs: {parameters: [{name: o, value: \"{{=sprig.getHostByName/* */('x')}}\"}]}",
    "expression-hides-in-comments": "outputs: {parameters: [{name: o, value: \"{{=/* ' */ len(sprig.repeat(9, 'a')) /* ' */}}\"}]}",
    "expression-of-two-tags": "outputs: {parameters: [{name: o, value: '{{ {{inputs.parameters.f}}'}]}",
    "braces-that-meet": "outputs: {parameters: [{name: o, value: 'x{'}]}",
    "brace-before-a-tag": "outputs: {parameters: [{name: o, value: '{{{inputs.parameters.f}}'}]}",
    "brace-after-a-tag": "outputs: {parameters: [{name: o, value: '{{inputs.parameters.f}}{=x'}]}",
    "value-expression": "outputs: {parameters: [{name: o, valueFrom: {expression: \"sprig.repeat(1000000000, 'a')\"}}]}",
    "artifact-secret": "inputs: {artifacts: [{name: a, path: /a, s3: {bucket: b, key: k, accessKeySecret: {name: argosy-x, key: t}}}]}",
    "artifact-git-secret": "inputs: {artifacts: [{name: a, path: /a, git: {repo: r, passwordSecret: {name: argosy-x, key: t}}}]}",
    "artifact-http-secret": "inputs: {artifacts: [{name: a, path: /a, http: {url: u, auth: {basicAuth: {passwordSecret: "
    "{name: argosy-x, key: t}}}}}]}",
    "artifact-oauth-secret": "inputs: {artifacts: [{name: a, path: /a, http: {url: u, auth: {oauth2: {clientSecretSecret: "
    "{name: argosy-x, key: t}}}}}]}",
    "artifact-gcs-secret": "outputs: {artifacts: [{name: a, path: /a, gcs: {bucket: b, key: k, serviceAccountKeySecret: "
    "{name: somebodys, key: t}}}]}",
    "artifact-of-the-node": "inputs: {artifacts: [{name: a, path: /a, s3: {bucket: b, key: k, useSDKCreds: true}}]}",
    "artifact-expression": "inputs: {artifacts: [{name: a, path: /a, fromExpression: \"sprig.env('HOME')\"}]}",
    "archive-secret": "archiveLocation: {s3: {bucket: b, secretKeySecret: {name: argosy-x, key: t}}}",
    "volume-host-path": "volumes: [{name: w, hostPath: {path: /}}]",
    "volume-docker-socket": "volumes: [{name: w, hostPath: {path: /var/run/docker.sock}}]",
    "volume-secret": "volumes: [{name: w, secret: {secretName: argosy-7233a659-e7c1-11f1-8ce4-addc122c18c0}}]",
    "volume-secret-of-another": "volumes: [{name: w, secret: {secretName: somebodys}}]",
    "volume-secret-by-parameter": "volumes: [{name: w, secret: {secretName: 'argosy-{{workflow.parameters.victim}}'}}]",
    "volume-projected-secret": "volumes: [{name: w, projected: {sources: [{secret: {name: argosy-x}}]}}]",
    "volume-projected-token": "volumes: [{name: w, projected: {sources: [{serviceAccountToken: {path: t}}]}}]",
    "volume-claim": "volumes: [{name: w, persistentVolumeClaim: {claimName: somebodys}}]",
    "volume-claim-by-parameter": "volumes: [{name: w, persistentVolumeClaim: {claimName: '{{workflow.parameters.victim}}'}}]",
    "volume-config-map-by-parameter": "volumes: [{name: w, configMap: {name: '{{workflow.parameters.victim}}'}}]",
    "volume-csi": "volumes: [{name: w, csi: {driver: secrets-store.csi.k8s.io}}]",
    "volume-nfs": "volumes: [{name: w, nfs: {server: s, path: /}}]",
    "volume-image": "volumes: [{name: w, image: {reference: any}}]",
    "volume-in-memory": "volumes: [{name: w, emptyDir: {medium: Memory, sizeLimit: 1000Gi}}]",
    "volume-in-memory-without-a-limit": "volumes: [{name: w, emptyDir: {medium: Memory}}]",
    "volume-huge-pages": "volumes: [{name: w, emptyDir: {medium: HugePages, sizeLimit: 1Gi}}]",
    "volume-ephemeral-copy": "volumes: [{name: w, ephemeral: {volumeClaimTemplate: {spec: {dataSource: "
    "{kind: PersistentVolumeClaim, name: o}}}}}]",
}  # fmt: skip

CONTAINER = {
    "privileged": "securityContext: {privileged: true}",
    "capabilities": "securityContext: {capabilities: {add: [SYS_ADMIN]}}",
    "net-raw": "securityContext: {capabilities: {add: [NET_ADMIN]}}",
    "unmasked-proc": "securityContext: {procMount: Unmasked}",
    "unconfined": "securityContext: {seccompProfile: {type: Unconfined}}",
    "localhost-profile": "securityContext: {seccompProfile: {type: Localhost, localhostProfile: mine.json}}",
    "apparmor": "securityContext: {appArmorProfile: {type: Unconfined}}",
    "profile-by-parameter": "securityContext: {seccompProfile: {type: '{{workflow.parameters.x}}'}}",
    "selinux": "securityContext: {seLinuxOptions: {type: spc_t}}",
    "windows-host": "securityContext: {windowsOptions: {hostProcess: true}}",
    "host-port": "ports: [{containerPort: 80, hostPort: 80}]",
    "env-secret": "env: [{name: T, valueFrom: {secretKeyRef: {name: argosy-7233a659-e7c1-11f1-8ce4-addc122c18c0, key: rest_token}}}]",
    "env-secret-of-another": "env: [{name: T, valueFrom: {secretKeyRef: {name: somebodys, key: k}}}]",
    "env-secret-by-parameter": "env: [{name: T, valueFrom: {secretKeyRef: {name: 'argosy-{{workflow.parameters.victim}}', key: k}}}]",
    "env-from-secret": "envFrom: [{secretRef: {name: argosy-7233a659-e7c1-11f1-8ce4-addc122c18c0}}]",
    "env-from-secret-by-parameter": "envFrom: [{secretRef: {name: '{{workflow.parameters.victim}}'}}]",
    "env-config-map-by-parameter": "envFrom: [{configMapRef: {name: '{{workflow.parameters.victim}}'}}]",
    "mounts-into-the-host": "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]",
    "raw-device": "volumeDevices: [{name: v, devicePath: /dev/x}]",
    "probe-of-the-node": "livenessProbe: {httpGet: {host: 127.0.0.1, port: 10250}}",
    "probe-of-metadata": "readinessProbe: {httpGet: {host: 169.254.169.254, port: 80}}",
    "probe-tcp": "startupProbe: {tcpSocket: {host: 127.0.0.1, port: 10250}}",
    "hook-of-the-node": "lifecycle: {postStart: {httpGet: {host: 169.254.169.254, port: 80}}}",
    "claims-a-device": "resources: {claims: [{name: gpu}]}",
}

WHOLE = {
    "resource": "{name: main, resource: {action: create, manifest: '{apiVersion: v1, kind: Pod}'}}",
    "plugin": "{name: main, plugin: {hello: {}}}",
    "suspended-for-ever": "{name: main, suspend: {}}",
    "http-secret": "{name: main, http: {url: u, headers: [{name: a, valueFrom: {secretKeyRef: {name: argosy-x, key: t}}}]}}",
    "data-secret": "{name: main, data: {source: {artifactPaths: {name: a, s3: {bucket: b, secretKeySecret: {name: argosy-x, key: t}}}}, "
    "transformation: [{expression: data}]}}",
    "template-of-another": "{name: main, steps: [[{name: a, templateRef: {name: somebodys, template: t}}]]}",
    "cluster-template": "{name: main, steps: [[{name: a, templateRef: {name: s, template: t, clusterScope: true}}]]}",
    "task-of-another": "{name: main, dag: {tasks: [{name: a, templateRef: {name: somebodys, template: t}}]}}",
    "hook-of-another": "{name: main, steps: [[{name: a, template: main, hooks: {x: {templateRef: {name: s, template: t}}}}]]}",
    "a-thousand-million-calls": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '1000000000'}}]]}",
    "calls-to-a-far-end": "{name: main, steps: [[{name: a, template: main, withSequence: {start: '1', end: '900000000'}}]]}",
    "calls-with-long-names": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '2', format: '%01000000000d'}}]]}",
    "calls-by-a-parameter": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '{{workflow.parameters.gid}}'}}]]}",
    "calls-with-precise-names": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '2', format: '%.999999d'}}]]}",
    "calls-with-widths-by-value": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '2', format: '%[1]*[1]d'}}]]}",
    "calls-with-a-long-format": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '2', format: '"
    + "a" * 999
    + "%d'}}]]}",
    "items-that-become-fields": "{name: main, dag: {tasks: [{name: a, template: '{{item.x', when: 'y}}', withItems: "
    '[{\'x\\",\\"when\\":\\"y\': z}]}]}}',
    "item-with-a-strange-key": "{name: main, steps: [[{name: a, template: main, withItems: [{'a\\\"b': 1}]}]]}",
    "items-by-the-thousand": "{name: main, steps: [[{name: a, template: main, withItems: [" + "1," * 1000 + "1]}]]}",
    "suspended-for-ten-years": "{name: main, suspend: {duration: 87600h}}",
    "suspended-with-its-own-deadline": "{name: main, activeDeadlineSeconds: 60, suspend: {}}",
    "many-items": "{name: main, steps: [[{name: a, template: main, withParam: '[" + "1," * 20_000 + "1]'}]]}",
    "many-parentheses": "{name: main, steps: [[{name: a, template: main, when: '"
    + "(" * 20_000
    + "1"
    + ")" * 20_000
    + " == 1'}]]}",
    "many-variables": "{name: main, container: {image: a, args: ['" + "{{workflow.parameters.gid}}" * 101 + "']}}",
    "value-of-parentheses": "{name: main, steps: [[{name: a, template: main, arguments: {parameters: [{name: p, value: '"
    + "(" * 2000
    + "'}]}}]]}",
    "value-that-doubles": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, arguments: "
    "{parameters: [{name: x, value: '{{inputs.parameters.x}}{{inputs.parameters.x}}'}]}}]]}",
    "value-that-doubles-in-an-expression": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "arguments: {parameters: [{name: x, value: '{{=inputs.parameters.x + inputs.parameters.x}}'}]}}]]}",
    "value-of-all-inputs": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "arguments: {parameters: [{name: x, value: '{{=string(inputs.parameters)}}'}]}}]]}",
    "value-that-doubles-by-items": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "withItems: ['{{inputs.parameters.x}}'], arguments: {parameters: [{name: x, value: '{{item}}{{item}}'}]}}]]}",
    "value-that-doubles-by-a-list": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "withParam: '[\"{{inputs.parameters.x}}\"]', arguments: {parameters: [{name: x, value: '{{item}}{{item}}'}]}}]]}",
    "value-that-is-multiplied-twice": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, inline: {inputs: "
    "{parameters: [{name: x}]}, steps: [[{name: b, inline: {inputs: {parameters: [{name: x}]}, container: {image: a}}, "
    "arguments: {parameters: [{name: x, value: '"
    + "{{inputs.parameters.x}}" * 100
    + "'}]}}]]}, arguments: {parameters: [{name: x, value: '"
    + "{{inputs.parameters.x}}" * 100
    + "'}]}}]]}",
    "value-that-doubles-on-its-way-back": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "arguments: {parameters: [{name: x, value: '{{inputs.parameters.x}}'}]}}]], outputs: {parameters: [{name: y, valueFrom: "
    "{expression: 'steps.a.outputs.parameters.y + inputs.parameters.x + steps.a.outputs.parameters.y'}}]}}",
    "tag-made-by-an-expression": "{name: main, container: {image: a, args: [\"{{='{'+'{=sprig.getHostByName(string(1))}'+'}'}}\"]}}",
    "tag-made-by-an-escape": "{name: main, container: {image: a, args: ['{{=\"\\x7b\\x7b=sprig.env(string(1))\"}}']}}",
    "key-of-an-item-is-evaluated": "{name: main, steps: [[{name: a, template: main, withItems: [{a: {\"{{=sprig.env('HOME')}}\": 1}}]}]]}",
    "key-in-a-list-of-items": "{name: main, steps: [[{name: a, template: main, withItems: [[{\"{{=sprig.env('HOME')}}\": 1}]]}]]}",
    "key-of-an-item-is-not-closed": "{name: main, steps: [[{name: a, template: main, withItems: [{a: {'{{item.x': 1}}]}]]}",
    "item-of-parentheses": "{name: main, steps: [[{name: a, template: main, when: '{{item}}1 == 1', withItems: ['"
    + "(" * 20_000
    + "']}]]}",
    "list-with-a-strange-key": '{name: main, steps: [[{name: a, template: main, withParam: \'[{"a\\"b": 1}]\'}]]}',
    "list-that-is-no-json": "{name: main, steps: [[{name: a, template: main, withParam: '[{{inputs.parameters.x}}]'}]]}",
    "item-called-as-a-field-of-a-task": "{name: main, steps: [[{name: a, template: main, withItems: [{a: {inline: {podSpecPatch: x}}}]}]]}",
    "list-with-a-field-of-a-task": "{name: main, steps: [[{name: a, template: main, withParam: '[{\"Inline\": {}}]'}]]}",
    "slice-of-a-text": "{name: main, container: {image: a, args: ['{{=workflow.labels.json[0:1]}}{{=workflow.labels.json[0:1]}}']}}",
    "end-of-a-text": "{name: main, container: {image: a, args: [\"{{=trimSuffix('a', inputs.parameters.x)}}\"]}}",
    "split-of-a-text": "{name: main, container: {image: a, args: [\"{{=string(split(string(split('a', '')), ''))}}\"]}}",
    "part-of-json": "{name: main, container: {image: a, args: [\"{{=jsonpath(workflow.parameters.b, '$.a')}}\"]}}",
    "letter-of-a-text": "{name: main, container: {image: a, args: ['{{=inputs.parameters.x[0]}}']}}",
    "brace-as-json-writes-it": "{name: main, steps: [[{name: a, template: main, withParam: '[\"\\u007b\\u007b=1\"]'}]]}",
    "half-an-escape": "{name: main, inputs: {parameters: [{name: x, value: '[\"\\u00'}]}, container: {image: a}}",
    "escape-that-is-filled-in": "{name: main, inputs: {parameters: [{name: x, value: '[\"\\u{{workflow.parameters.b}}'}]}, "
    "container: {image: a}}",
    "list-with-a-variable": "{name: main, steps: [[{name: a, template: main, withParam: '[\"{{inputs.parameters.x}}\"]'}]]}",
    "format-that-is-filled-in": "{name: main, steps: [[{name: a, template: main, withSequence: {count: 5, "
    "format: '{{workflow.parameters.b}}%d'}}]]}",
    "sequence-from-below-zero": "{name: main, steps: [[{name: a, template: main, withSequence: {start: -6000, end: 6000}}]]}",
    "items-of-variables": "{name: main, steps: [[{name: a, template: main, withItems: ["
    + "'{{workflow.parameters.b}}'," * 101
    + "]}]]}",
    "inline-inputs-that-double": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, inline: {inputs: "
    "{parameters: [{name: x, value: '{{inputs.parameters.x}}{{inputs.parameters.x}}'}]}, steps: [[{name: b, template: main, "
    "arguments: {parameters: [{name: x, value: '{{inputs.parameters.x}}'}]}}]]}}]]}",
    "condition-of-negations": "{name: main, steps: [[{name: a, template: main, when: '" + "!" * 200 + "true'}]]}",
    "http": "{name: main, http: {url: 'http://a'}}",
    "memory-without-a-limit": "{name: main, container: {image: a, volumeMounts: [{name: v, mountPath: /v}]}, "
    "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 0}}]}",
    "memory-many-times": "{name: main, container: {image: a}, volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 3Gi}}, "
    "{name: w, emptyDir: {medium: Memory, sizeLimit: 3Gi}}]}",
    "role-of-the-cloud": "{name: main, container: {image: a}, metadata: {annotations: {iam.amazonaws.com/role: admin}}}",
    "suspended-till-a-far-deadline": "{name: main, suspend: {duration: 100000h}}",
    "brace-out-of-a-list": "{name: main, steps: [[{name: a, template: main, withParam: '[\"{\"]', arguments: "
    "{parameters: [{name: x, value: '{{item}}{{item}}=sprig.env(string(1))}}'}]}}]]}",
    "brace-out-of-a-value": "{name: main, inputs: {parameters: [{name: x, value: '[\"{\" ]'}]}, container: {image: a}}",
    "item-called-env": "{name: main, steps: [[{name: a, template: main, withItems: [{env: '{'}]}]]}",
    "item-called-env-of-parentheses": "{name: main, steps: [[{name: a, template: main, when: '{{item.env}}', withItems: [{env: '"
    + "(" * 20_000
    + "'}]}]]}",
    "condition-of-many-variables": "{name: main, steps: [[{name: a, template: main, when: '"
    + "{{workflow.parameters.b}}" * 5
    + "'}]]}",
    "workflow-value-that-doubles": "{name: main, inputs: {parameters: [{name: x, value: a}]}, steps: [[{name: a, template: main, "
    "arguments: {parameters: [{name: x, value: '{{inputs.parameters.x}}{{workflow.parameters.b}}'}]}}]]}",
    "hook-called-transformation": "{name: main, steps: [[{name: a, template: main, hooks: {transformation: {template: main, "
    "expression: \"len(sprig.getHostByName('a')) > 0\"}}}]]}",
    "transformation-with-a-tag": "{name: main, data: {source: {artifactPaths: {name: a, raw: {data: x}}}, "
    "transformation: [{expression: '{{=sprig.env(string(1))}}'}]}}",
    "item-called-transformation": "{name: main, steps: [[{name: a, template: main, withItems: "
    "[{transformation: {expression: '{{=sprig.env(string(1))}}'}}]}]]}",
    "path-that-multiplies": "{name: main, container: {image: a, args: [\"{{=len(jsonpath(workflow.parameters.b, '$..*..*'))}}\"]}}",
    "list-of-a-parameter": '{name: main, inputs: {parameters: [{name: x, value: \'[{"a\\"b": 1}]\'}]}, steps: '
    "[[{name: a, template: main, withParam: '{{inputs.parameters.x}}'}]]}",
    "long-list-of-a-parameter": "{name: main, inputs: {parameters: [{name: x, value: '["
    + "1," * 1000
    + "1]'}]}, steps: "
    "[[{name: a, template: main, withParam: '{{inputs.parameters.x}}'}]]}",
    "sequence-of-many-zeros": "{name: main, steps: [[{name: a, template: main, withSequence: {count: '"
    + "0" * 18
    + "1000000000'}}]]}",
    "list-of-lists": "{name: main, steps: [[{name: a, template: main, withParam: '"
    + "[" * 500
    + '{"inline": 1}'
    + "]" * 500
    + "'}]]}",
    "pod-of-variables": "{name: main, container: {image: a, args: ["
    + ("'" + "{{workflow.parameters.b}}" * 100 + "',") * 11
    + "]}}",
    "item-is-evaluated": "{name: main, steps: [[{name: a, template: main, withItems: [\"{{=sprig.env('HOME')}}\"]}]]}",
    "item-in-an-object": "{name: main, steps: [[{name: a, template: main, withItems: [{x: \"{{=sprig.env('HOME')}}\"}]}]]}",
    "set-of-containers": "{name: main, containerSet: {containers: [{name: a, image: a, securityContext: {privileged: true}}]}}",
    "script": "{name: main, script: {image: a, source: x, securityContext: {privileged: true}}}",
    "step-evaluates": "{name: main, steps: [[{name: a, template: main, when: \"{{=len(repeat('a', 1000000000)) > 0}}\"}]]}",
}


def manifests() -> Iterator[tuple[str, str]]:
    """Name and text of each."""
    for name, text in SPEC.items():
        yield f"spec-{name}", _dumped(_read(text), {"container": dict(_PLAIN)})
    for name, text in TEMPLATE.items():
        fields = _read(text)
        if "volumes" in fields:
            plain: dict[str, Any] = {"container": _PLAIN | {"volumeMounts": [{"name": "w", "mountPath": "/w"}]}}
        else:
            plain = {"container": dict(_PLAIN)}
        yield f"template-{name}", _dumped({}, plain | fields)
        yield f"defaults-{name}", _dumped({"templateDefaults": fields}, plain)
        yield f"step-{name}", _dumped({}, {"steps": [[{"name": "a", "inline": plain | fields}]]})
        yield f"task-{name}", _dumped({}, {"dag": {"tasks": [{"name": "a", "inline": plain | fields}]}})
    for name, text in CONTAINER.items():
        yield f"container-{name}", _dumped({}, {"container": _PLAIN | _read(text)})
        yield (
            f"init-{name}",
            _dumped({}, {"container": dict(_PLAIN), "initContainers": [{"name": "i"} | _PLAIN | _read(text)]}),
        )
        yield (
            f"sidecar-{name}",
            _dumped({}, {"container": dict(_PLAIN), "sidecars": [{"name": "s"} | _PLAIN | _read(text)]}),
        )
    for name, text in WHOLE.items():
        yield f"whole-{name}", _dumped({}, _read(text))


_PLAIN = {"image": "alpine", "command": ["true"]}


def _read(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(text)
    return fields


def _dumped(spec: dict[str, Any], template: dict[str, Any]) -> str:
    templates = [{"name": "main"} | template]
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "x-"}}
    return yaml.safe_dump(
        body | {"spec": {"entrypoint": "main", "templates": templates} | spec}, sort_keys=False, width=1000
    )
