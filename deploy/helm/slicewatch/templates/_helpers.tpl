{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}

{{- define "slicewatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "slicewatch.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "slicewatch.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "slicewatch.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* What never changes in the life of a release. */ -}}
{{- define "slicewatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slicewatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "slicewatch.releaseLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "slicewatch.labels" -}}
{{ include "slicewatch.selectorLabels" . }}
{{ include "slicewatch.releaseLabels" . }}
{{- end }}

{{- /* Labels of what is not the agent itself. Arguments: root, component. */ -}}
{{- define "slicewatch.partLabels" -}}
app.kubernetes.io/name: {{ include "slicewatch.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{ include "slicewatch.releaseLabels" .root }}
{{- end }}

{{- define "slicewatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "slicewatch.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false: serviceAccount.name must say which service account to use (default is one)" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "slicewatch.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* "true" if the agent asks the API server anything, else empty. */ -}}
{{- define "slicewatch.asksAPI" -}}
{{- if or .Values.kubernetes.enabled (eq .Values.web.auth "kubernetes") }}true{{ end }}
{{- end }}

{{- /* The port of the probes, or empty where they ask the metrics port. */ -}}
{{- define "slicewatch.healthPort" -}}
{{- if .Values.web.healthPort }}
{{- int .Values.web.healthPort }}
{{- else if .Values.web.configSecret }}9780
{{- end }}
{{- end }}

{{- /* The flags of the agent: those that differ from its defaults. */ -}}
{{- define "slicewatch.args" -}}
- agent
- --path.cgroupfs=/host/sys/fs/cgroup
- --path.state=/var/lib/slicewatch
{{- if not .Values.kubernetes.enabled }}
- --kubernetes=off
{{- end }}
{{- if not .Values.containerd.enabled }}
- --containerd=off
{{- else if ne .Values.containerd.directory "/run/containerd" }}
- --containerd.address={{ .Values.containerd.directory }}/containerd.sock
{{- end }}
{{- if not .Values.bpf.enabled }}
- --bpf=off
{{- else if .Values.bpf.required }}
- --bpf=required
{{- end }}
{{- with .Values.agent.sampleInterval }}
- --sample.interval={{ . }}
{{- end }}
{{- with .Values.agent.retention }}
- --retention={{ . }}
{{- end }}
{{- if eq .Values.agent.metrics.detail "all" }}
- --metrics.detail=all
{{- end }}
{{- with .Values.agent.metrics.include }}
- {{ printf "--metrics.include=%s" . | quote }}
{{- end }}
{{- with .Values.agent.metrics.exclude }}
- {{ printf "--metrics.exclude=%s" . | quote }}
{{- end }}
{{- with .Values.agent.metrics.namespacesExclude }}
- {{ printf "--metrics.namespaces-exclude=%s" . | quote }}
{{- end }}
{{- if ne .Values.agent.log.level "info" }}
- --log.level={{ .Values.agent.log.level }}
{{- end }}
{{- if ne .Values.agent.log.format "logfmt" }}
- --log.format={{ .Values.agent.log.format }}
{{- end }}
{{- include "slicewatch.webArgs" . }}
{{- range .Values.agent.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "slicewatch.webArgs" -}}
{{- if ne (int .Values.web.port) 9779 }}
- --web.listen-address=:{{ int .Values.web.port }}
{{- end }}
{{- if .Values.web.configSecret }}
- --web.config.file=/etc/slicewatch/web/{{ .Values.web.configKey }}
{{- end }}
{{- with include "slicewatch.healthPort" . }}
- --web.health-address=:{{ . }}
{{- end }}
{{- if eq .Values.web.auth "kubernetes" }}
- --web.auth=kubernetes
{{- range .Values.web.audiences }}
- {{ printf "--web.auth.audience=%s" . | quote }}
{{- end }}
{{- with .Values.web.cacheTime }}
- --web.auth.cache-time={{ . }}
{{- end }}
{{- end }}
{{- if .Values.web.pprof }}
- --web.pprof
{{- end }}
{{- end }}

{{- /* Fails where a kind is wanted whose CRD the cluster does not have.
Arguments: root, value, api ("group/version/Kind"), operator. */ -}}
{{- define "slicewatch.requireAPI" -}}
{{- if not (.root.Capabilities.APIVersions.Has .api) }}
{{- fail (printf "\n\n%s.enabled is true, but the cluster has no %s. Install the CRDs of %s first, or set %s.enabled=false.\nWithout a cluster (helm template) say that it has them: --api-versions %s\n" .value .api .operator .value .api) }}
{{- end }}
{{- end }}

{{- /* What a scrape's labels have to be. The agent's own namespace, pod and
container would mix with those that the series speak of. */ -}}
{{- define "slicewatch.relabelings" -}}
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
- action: labeldrop
  regex: namespace|pod|container|endpoint|service
{{- end }}
