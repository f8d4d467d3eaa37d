{{/* Pod template: dict root, worker. */}}
{{- define "vllm.pod" -}}
{{- $v := .root.Values -}}
{{- $selector := ternary "vllm.workerSelector" "vllm.selector" .worker -}}
metadata:
  labels:
    {{- include $selector .root | nindent 4 }}
    {{- include "vllm.commonLabels" .root | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: vllm
spec:
  serviceAccountName: {{ $v.serviceAccount.name }}
  # Nothing here speaks to the API; roles of AWS come by a token of their own.
  automountServiceAccountToken: false
  # Variables of a Service named vllm would be taken for vLLM's own: VLLM_PORT.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $v.drain.graceSeconds }}
  {{- if $v.placement.priority.create }}
  priorityClassName: {{ include "vllm.fullname" .root }}
  {{- end }}
  {{- with $v.placement.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    # For a volume of one pod. On one that many share (FSx) Kubernetes changes no owner, so weights there are read as they are.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- include "vllm.placement" .root | nindent 2 }}
  {{- if not .worker }}
  topologySpreadConstraints:
    # Nodes whose taints keep this tier away (spot, where it is not asked for) would count as empty.
    # Losing a zone leaves the others, where there is room.
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      nodeTaintsPolicy: Honor
      labelSelector: {matchLabels: {{ include "vllm.selector" .root | fromYaml | toJson }}}
      {{- if not (include "vllm.multiNode" .root) }}
      # Each release by itself, as the one before still runs.
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: {{ $v.placement.spreadHosts }}
      nodeTaintsPolicy: Honor
      labelSelector: {matchLabels: {{ include "vllm.selector" .root | fromYaml | toJson }}}
      {{- if not (include "vllm.multiNode" .root) }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
  {{- end }}
  {{- if ne $v.source.kind "none" }}
  initContainers:
    - {{- include "vllm.fetchContainer" .root | nindent 6 }}
  {{- end }}
  containers:
    - {{- include "vllm.engineContainer" . | nindent 6 }}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ int $v.engine.shmGiB }}Gi}
    - name: cache
      emptyDir: {sizeLimit: {{ int $v.engine.resources.scratchGiB }}Gi}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if eq $v.source.kind "s3" }}
    - name: models
      emptyDir: {sizeLimit: {{ int $v.source.sizeGiB }}Gi}
    {{- else if eq $v.source.kind "volume" }}
    - name: models
      persistentVolumeClaim: {claimName: {{ $v.source.volume.claimName }}}
    {{- end }}
{{- end -}}

{{- define "vllm.placement" -}}
{{- $p := .Values.placement -}}
{{- $gpu := dict -}}
{{- if $p.gpus }}{{ $gpu = dict "key" "faultload.io/gpu" "operator" "In" "values" $p.gpus }}{{ end -}}
{{- $terms := list -}}
{{- if eq $p.capacity "any" -}}
{{- if $gpu }}{{ $terms = list (dict "matchExpressions" (list $gpu)) }}{{ end -}}
{{- else -}}
{{- /* Managed node groups and Karpenter name it each in their own way; one of the two must hold. */ -}}
{{- $managed := dict "key" "eks.amazonaws.com/capacityType" "operator" "In" "values" (list (ternary "SPOT" "ON_DEMAND" (eq $p.capacity "spot"))) -}}
{{- $karpenter := dict "key" "karpenter.sh/capacity-type" "operator" "In" "values" (list $p.capacity) -}}
{{- range (list $managed $karpenter) -}}
{{- $terms = append $terms (dict "matchExpressions" (compact (list $gpu .))) -}}
{{- end -}}
{{- end -}}
{{- if $terms -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        {{- toYaml $terms | nindent 8 }}
{{ end -}}
tolerations:
  {{- if $p.gpus }}
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  {{- end }}
  {{- if eq $p.capacity "spot" }}
  - {key: faultload.io/spot, operator: Exists, effect: NoSchedule}
  {{- end }}
  # A machine that is gone comes back within half a minute or not at all; 300 s is what Kubernetes waits.
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
{{- end -}}
