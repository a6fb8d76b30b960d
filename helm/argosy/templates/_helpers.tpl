{{/* Name of the release's objects; short enough for "-worker" and what Kubernetes appends. */}}
{{- define "argosy.fullname" -}}
{{- $made := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- .Values.fullnameOverride | default $made | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "argosy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "argosy.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that exists, or leave serviceAccount.create true" .Values.serviceAccount.name -}}
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
{{ include "argosy.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
The settings as environment variables. Lists have commas; numbers go through JSON, because Go prints a large one as 6.7e+07.
Takes the root.
*/}}
{{- define "argosy.settings" -}}
{{- range list "host" "restUrl" "tusUrl" -}}
{{- $_ := get $.Values.settings . | required (printf "settings.%s: give the platform's address; argosy's own default is localhost, which no pod of yours means (see the chart's README)" .) -}}
{{- end -}}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "slice" $value }}{{ $value = join "," $value }}{{ end }}
- name: ARGOSY_{{ $name | snakecase | upper }}
  value: {{ kindIs "string" $value | ternary $value ($value | toJson) | quote }}
{{- end }}
{{- end -}}

{{/*
A pod's metadata and spec. All pods of the chart are made here, so that none is less locked up than the others.
Takes root, component, values (the component's part of .Values), args, secrets (keys of existingSecret that this component reads),
serves (whether it has /metrics), kubernetes (whether it calls the Kubernetes API of the cluster it runs in)
and http (port on which it answers callers).
*/}}
{{- define "argosy.pod" -}}
{{- $root := .root -}}
{{- $annotations := .values.podAnnotations -}}
{{- if and .serves $root.Values.metrics.annotations -}}
{{- $scrape := dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString $root.Values.metrics.port) "prometheus.io/path" "/metrics" -}}
{{- $annotations = merge (dict) $annotations $scrape -}}
{{- end -}}
metadata:
  labels:
    {{- include "argosy.labels" (list $root .component) | nindent 4 }}
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
  securityContext:
    runAsNonRoot: true
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: {{ .component }}
      image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- range .secrets }}
        - name: ARGOSY_{{ . | replace "-" "_" | upper }}
          valueFrom:
            secretKeyRef:
              name: {{ required "existingSecret: name a Secret of the release's namespace with the keys database-url, redis-url, keys, token-private-key and token-public-key; the chart takes no secrets as values (see its README)" $root.Values.existingSecret }}
              key: {{ . }}
              {{- if eq . "webhook-key" }}
              optional: true
              {{- end }}
        {{- end }}
        {{- include "argosy.settings" $root | trim | nindent 8 }}
        {{- if .serves }}
        - name: ARGOSY_METRICS_PORT
          value: {{ toString $root.Values.metrics.port | quote }}
        - name: ARGOSY_METRICS_DIRECTORY
          value: /run/argosy/metrics
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
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if .serves }}
        - name: metrics
          mountPath: /run/argosy/metrics
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if .serves }}
    - name: metrics
      emptyDir: {}
    {{- end }}
  {{- with .values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* A Deployment of the release. Takes what argosy.pod takes, but for serves. */}}
{{- define "argosy.deployment" -}}
{{- $root := .root -}}
{{- $pod := merge (dict "serves" true) . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "argosy.fullname" $root }}-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "argosy.labels" (list $root .component) | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "argosy.selectorLabels" (list $root .component) | nindent 6 }}
  template:
    {{- include "argosy.pod" $pod | nindent 4 }}
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
{{- end -}}
