{{- define "vllm.fullname" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods that serve. The target's selector is app.kubernetes.io/name=vllm. */}}
{{- define "vllm.selector" -}}
app.kubernetes.io/name: vllm
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vllm.labels" -}}
{{ include "vllm.selector" . }}
{{ include "vllm.commonLabels" . }}
{{- end -}}

{{- define "vllm.commonLabels" -}}
app.kubernetes.io/component: engine
app.kubernetes.io/part-of: inference-platform
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
faultload.io/model: {{ .Values.model.name }}
faultload.dev/tier: {{ .Values.tier }}
{{- end -}}

{{/* Of a multi-node replica the pods that do not serve: no Service, monitor or experiment may take them for replicas. */}}
{{- define "vllm.workerSelector" -}}
app.kubernetes.io/name: vllm-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Every pod of the release, serving or not: what a policy or a budget is about. */}}
{{- define "vllm.allPods" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: engine
{{- end -}}

{{- define "vllm.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}

{{- define "vllm.multiNode" -}}
{{- if gt (int .Values.nodesPerReplica) 1 }}true{{ end -}}
{{- end -}}

{{- define "vllm.gpusPerPod" -}}
{{- if .Values.engine.simulator -}}
0
{{- else -}}
{{- div (mul .Values.engine.tensorParallelSize .Values.engine.pipelineParallelSize) .Values.nodesPerReplica -}}
{{- end -}}
{{- end -}}

{{/* This tier's entry of triggers.yaml, with what the values set instead; YAML. */}}
{{- define "vllm.scaling" -}}
{{- $file := .Files.Get "files/triggers.yaml" | fromYaml -}}
{{- $found := dict -}}
{{- range $file.scaledObjects -}}
{{- if eq .name $.Values.tier }}{{ $found = . }}{{ end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "vllm: rule tier-has-triggers: expected an entry named %q in platform/observability/triggers.yaml, found none: add one, or set autoscaling.enabled to false" .Values.tier) -}}
{{- end -}}
{{- $set := .Values.autoscaling -}}
{{- $entry := omit $found "name" "scaleTargetRef" -}}
{{- if not (kindIs "invalid" $set.minReplicas) }}{{ $entry = set $entry "minReplicaCount" (int $set.minReplicas) }}{{ end -}}
{{- if not (kindIs "invalid" $set.maxReplicas) }}{{ $entry = set $entry "maxReplicaCount" (int $set.maxReplicas) }}{{ end -}}
{{- toYaml $entry -}}
{{- end -}}

{{/* The fewest replicas there are meant to be. */}}
{{- define "vllm.replicasMin" -}}
{{- if .Values.autoscaling.enabled -}}
{{- (include "vllm.scaling" . | fromYaml).minReplicaCount | default 0 | int -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}

{{/* Replicas that a rollout may have beyond those there are: as many as there are spare GPUs for. */}}
{{- define "vllm.surge" -}}
{{- $gpus := mul (include "vllm.gpusPerPod" . | int) .Values.nodesPerReplica -}}
{{- if eq (int $gpus) 0 }}1{{ else }}{{ div .Values.rollout.spareGpus $gpus }}{{ end -}}
{{- end -}}
