{{/* Name of the release's objects; short enough for "-postgresql" and what Kubernetes appends. */}}
{{- define "argosy.fullname" -}}
{{- $made := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- .Values.fullnameOverride | default $made | trunc 41 | trimSuffix "-" -}}
{{- end -}}

{{- define "argosy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "argosy.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that exists, or leave serviceAccount.create true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The digest wins over the tag: it names one image for ever. */}}
{{- define "argosy.image" -}}
{{- with .Values.image -}}
{{- .digest | empty | ternary (printf "%s:%s" .repository (.tag | default $.Chart.AppVersion)) (printf "%s@%s" .repository .digest) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with everything that must not be read. */}}
{{- define "argosy.secret" -}}
{{- if .Values.evaluation.enabled -}}
{{- include "argosy.fullname" . }}-evaluation
{{- else -}}
{{- required "existingSecret: name a Secret of the release's namespace with the keys database-url, redis-url, keys, token-private-key and token-public-key; the chart takes no secrets as values (see its README)" .Values.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Takes a list of the root and a component's name. What selects pods must never change, so no version is among it. */}}
{{- define "argosy.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Takes a list of the root and a component's name. */}}
{{- define "argosy.labels" -}}
{{- $root := index . 0 -}}
{{- $own := include "argosy.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- merge $own $root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* An object's metadata. Takes root, component, suffix of its name, and annotations, labels and namespace where it has any of its own. */}}
{{- define "argosy.metadata" -}}
name: {{ include "argosy.fullname" .root }}{{ .suffix }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- merge (include "argosy.labels" (list .root .component) | fromYaml) (.labels | default dict) | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The settings as environment variables. Lists have commas; numbers go through JSON, because Go prints a large one as 6.7e+07.
Takes the root.
*/}}
{{- define "argosy.settings" -}}
{{- if not .Values.evaluation.enabled -}}
{{- range list "host" "restUrl" "tusUrl" -}}
{{- $_ := get $.Values.settings . | required (printf "settings.%s: give the platform's address; argosy's own default is localhost, which no pod of yours means (see the chart's README)" .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.settings }}
{{- if not (and $.Values.evaluation.enabled (kindIs "string" $value) (empty $value)) }}
{{- if kindIs "slice" $value }}{{ $value = join "," $value }}{{ end }}
- name: ARGOSY_{{ $name | snakecase | upper }}
  value: {{ kindIs "string" $value | ternary $value ($value | toJson) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What an image may write to and see of secrets, in every container that runs argosy. Takes what argosy.pod takes. */}}
{{- define "argosy.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: secrets
  mountPath: /run/secrets/argosy
  readOnly: true
{{- end -}}

{{/* How every container of the chart is locked up. Takes what the component's values add, and the component's own. */}}
{{- define "argosy.securityContext" -}}
{{- $own := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- mergeOverwrite $own . | toYaml -}}
{{- end -}}

{{/* How every pod of the chart is locked up. Takes what is added or changed. */}}
{{- define "argosy.podSecurityContext" -}}
{{- mergeOverwrite (dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault")) . | toYaml -}}
{{- end -}}

{{/*
A pod's metadata and spec. All pods of argosy are made here, so that none is less locked up than the others.
Takes root, component, values (the component's part of .Values), args, secrets (keys of the Secret that this component reads),
serves (whether it has /metrics), kubernetes (whether it calls the Kubernetes API of the cluster it runs in)
and http (port on which it answers callers).
*/}}
{{- define "argosy.pod" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $annotations := $values.podAnnotations -}}
{{- if and .serves $root.Values.metrics.annotations -}}
{{- $scrape := dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString $root.Values.metrics.port) "prometheus.io/path" "/metrics" -}}
{{- $annotations = merge (dict) $annotations $scrape -}}
{{- end -}}
metadata:
  labels:
    {{- merge (include "argosy.labels" (list $root .component) | fromYaml) $values.podLabels | toYaml | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if .serves }}
  serviceAccountName: {{ include "argosy.serviceAccountName" $root }}
  {{- end }}
  automountServiceAccountToken: {{ .kubernetes }}
  # A Service called argosy-metrics would otherwise set ARGOSY_METRICS_PORT in every pod of its namespace.
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "argosy.podSecurityContext" $values.podSecurityContext | nindent 4 }}
  {{- if or $values.initContainers $root.Values.evaluation.enabled }}
  initContainers:
    {{- with $values.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if $root.Values.evaluation.enabled }}
    # The database comes with the same release, so no hook can bring it up to date before the release.
    - name: schema
      image: {{ include "argosy.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [sh, -c, "n=2; until argosy db upgrade; do sleep $n; [ $n -ge 32 ] || n=$((n * 2)); done"]
      resources:
        {{- toYaml $root.Values.migration.resources | nindent 8 }}
      securityContext:
        {{- include "argosy.securityContext" $values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "argosy.mounts" . | nindent 8 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "argosy.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "argosy.settings" $root | trim | nindent 8 }}
        {{- if .serves }}
        - name: ARGOSY_METRICS_PORT
          value: {{ toString $root.Values.metrics.port | quote }}
        - name: ARGOSY_METRICS_DIRECTORY
          value: /run/argosy/metrics
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
        {{- if .serves }}
      ports:
        {{- with .http }}
        - name: http
          containerPort: {{ . }}
        {{- end }}
        - name: metrics
          containerPort: {{ $root.Values.metrics.port }}
      # The process itself says within ten seconds that it is not ready, and within thirty that its loop hangs; one lost answer is nothing.
      startupProbe:
        httpGet:
          path: /livez
          port: metrics
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet:
          path: /readyz
          port: metrics
        periodSeconds: 3
        timeoutSeconds: 5
        failureThreshold: 2
      livenessProbe:
        httpGet:
          path: /livez
          port: metrics
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
        {{- end }}
        {{- if .http }}
      # Until every proxy knows that the pod goes, it still gets requests.
      lifecycle:
        preStop:
          exec:
            command: [sleep, "5"]
        {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "argosy.securityContext" $values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "argosy.mounts" . | nindent 8 }}
        {{- if .serves }}
        - name: metrics
          mountPath: /run/argosy/metrics
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    # As files: what is in the environment is inherited by every child, and read out of /proc.
    - name: secrets
      projected:
        sources:
          {{- range .secrets }}
          - secret:
              name: {{ include "argosy.secret" $root }}
              items: [{key: {{ . }}, path: argosy_{{ . | replace "-" "_" }}}]
              {{- if eq . "webhook-key" }}
              optional: true
              {{- end }}
          {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    {{- if .serves }}
    - name: metrics
      emptyDir:
        sizeLimit: 128Mi
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $selector := dict "labelSelector" (dict "matchLabels" (include "argosy.selectorLabels" (list $root $.component) | fromYaml)) }}
    {{- range . }}
    - {{ if hasKey . "labelSelector" }}{{ toYaml . | nindent 6 | trim }}{{ else }}{{ merge (dict) . $selector | toYaml | nindent 6 | trim }}{{ end }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Refuses bounds that leave no number. Takes of (where they are) and values. */}}
{{- define "argosy.bounds" -}}
{{- if gt (int .values.minReplicas) (int .values.maxReplicas) -}}
{{- fail (printf "%s: minReplicas %v is more than maxReplicas %v" .of .values.minReplicas .values.maxReplicas) -}}
{{- end -}}
{{- end -}}

{{/*
A Deployment of the release, with what keeps it up and what gives it its size. Takes what argosy.pod takes, but for serves.
*/}}
{{- define "argosy.deployment" -}}
{{- $root := .root -}}
{{- $scaled := or (dig "autoscaling" "enabled" false .values) (dig "keda" "enabled" false .values) -}}
{{- $pod := merge (dict "serves" true) . -}}
{{- $named := dict "root" $root "component" .component "suffix" (printf "-%s" .component) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "argosy.metadata" $named | nindent 2 }}
spec:
  {{- if not $scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "argosy.selectorLabels" (list $root .component) | nindent 6 }}
  template:
    {{- include "argosy.pod" $pod | nindent 4 }}
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "argosy.metadata" $named | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready does nobody any good: it keeps no node from being emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "argosy.selectorLabels" (list $root .component) | nindent 6 }}
{{- end }}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- include "argosy.bounds" (dict "of" (printf "%s.autoscaling" $.component) "values" .) }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "argosy.metadata" $named | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "argosy.fullname" $root }}-{{ $.component }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .cpuUtilization }}
{{- end }}
{{- end }}
{{- end -}}
