{{/*
What must hold between numbers. Each rule has a name; what breaks it is refused when the chart is rendered, with the
numbers and what to change. docs/deploy.md says where they come from.
*/}}
{{- define "vllm.refuse" -}}
{{- fail (printf "vllm: rule %s: %s" .rule .why) -}}
{{- end -}}

{{- define "vllm.rules" -}}
{{- if .Values.monitoring.enabled }}{{ include "vllm.rules.name" . }}{{ end -}}
{{- include "vllm.rules.drain" . -}}
{{- include "vllm.rules.probes" . -}}
{{- include "vllm.rules.disruption" . -}}
{{- include "vllm.rules.machine" . -}}
{{- include "vllm.rules.extraArgs" . -}}
{{- if .Values.autoscaling.enabled }}{{ include "vllm.rules.scaling" . }}{{ end -}}
{{- end -}}

{{/*
Of what Kubernetes and DCGM export only names say the tier: TierDown and RolloutStuck read it from the workload's, the
monitor of DCGM from the pod's, where a hyphen would end it.
*/}}
{{- define "vllm.rules.name" -}}
{{- if ne .Release.Name (printf "chat-%s" .Values.tier) -}}
{{- include "vllm.refuse" (dict "rule" "release-is-named-for-its-tier" "why" (printf "the release is %q and its tier is %q, so no alert would be about its replicas; expected the name chat-%s: give it that, or say the tier, or set monitoring.enabled to false" .Release.Name .Values.tier .Values.tier)) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z0-9]+$" .Values.tier) -}}
{{- include "vllm.refuse" (dict "rule" "release-is-named-for-its-tier" "why" (printf "tier %q: series of its GPUs get the tier from the pod's name, where it ends at a hyphen; expected letters and digits alone: change tier, in platform/observability/triggers.yaml too, or set monitoring.enabled to false" .Values.tier)) -}}
{{- end -}}
{{- end -}}

{{- define "vllm.rules.drain" -}}
{{- $d := .Values.drain -}}
{{- if lt (int $d.preStopSeconds) (int $d.endpointRemovalSeconds) -}}
{{- include "vllm.refuse" (dict "rule" "prestop-covers-endpoint-removal" "why" (printf "preStop sleeps %v s and requests still arrive for %v s, which vLLM answers with 500 once it has SIGTERM: raise drain.preStopSeconds" $d.preStopSeconds $d.endpointRemovalSeconds)) -}}
{{- end -}}
{{- $need := add $d.preStopSeconds $d.shutdownTimeoutSeconds $d.marginSeconds -}}
{{- if ge (int $need) (int $d.graceSeconds) -}}
{{- include "vllm.refuse" (dict "rule" "drain-fits-grace" "why" (printf "preStop %v s + shutdown timeout %v s + margin %v s = %v s, expected less than the grace period of %v s: raise drain.graceSeconds or lower drain.shutdownTimeoutSeconds" $d.preStopSeconds $d.shutdownTimeoutSeconds $d.marginSeconds $need $d.graceSeconds)) -}}
{{- end -}}
{{- if gt (int $d.longestAnswerSeconds) (int $d.shutdownTimeoutSeconds) -}}
{{- include "vllm.refuse" (dict "rule" "drain-covers-longest-answer" "why" (printf "an answer, streamed or not, may take %v s and is drained for %v s; what is not done then hangs: raise drain.shutdownTimeoutSeconds, or lower drain.longestAnswerSeconds, and timeouts.answerSeconds of the router's chart with it" $d.longestAnswerSeconds $d.shutdownTimeoutSeconds)) -}}
{{- end -}}
{{- $chain := add .Values.spot.detectionSeconds $d.graceSeconds -}}
{{- if and (eq .Values.placement.capacity "spot") (ge (int $chain) (int .Values.spot.noticeSeconds)) -}}
{{- include "vllm.refuse" (dict "rule" "spot-chain-fits-notice" "why" (printf "detection %v s + grace period %v s = %v s, expected less than the %v s of a spot notice: lower drain.graceSeconds, and drain.shutdownTimeoutSeconds with it (values/spot.yaml)" .Values.spot.detectionSeconds $d.graceSeconds $chain .Values.spot.noticeSeconds)) -}}
{{- end -}}
{{- end -}}

{{- define "vllm.rules.probes" -}}
{{- $s := .Values.startup -}}
{{- $r := .Values.probes.readiness -}}
{{- $l := .Values.probes.liveness -}}
{{- if lt (int $s.budgetSeconds) (mul 2 $s.coldStartSeconds | int) -}}
{{- include "vllm.refuse" (dict "rule" "startup-covers-cold-start" "why" (printf "the startup probe gives up after %v s, a cold start takes %v s; expected twice that at least, or a slow start is killed and begins anew: raise startup.budgetSeconds" $s.budgetSeconds $s.coldStartSeconds)) -}}
{{- end -}}
{{- $ready := mul $r.periodSeconds $r.failures -}}
{{- $alive := mul $l.periodSeconds $l.failures -}}
{{- if le (int $alive) (int $ready) -}}
{{- include "vllm.refuse" (dict "rule" "liveness-after-readiness" "why" (printf "liveness fails after %v s and readiness after %v s; expected liveness later, or a busy engine is killed while it still gets traffic: raise probes.liveness" $alive $ready)) -}}
{{- end -}}
{{- range $name, $p := .Values.probes -}}
{{- if gt (int $p.timeoutSeconds) (int $p.periodSeconds) -}}
{{- include "vllm.refuse" (dict "rule" "probe-timeout-within-period" "why" (printf "%s waits %v s every %v s: lower probes.%s.timeoutSeconds" $name $p.timeoutSeconds $p.periodSeconds $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vllm.rules.disruption" -}}
{{- $replicas := include "vllm.replicasMin" . | int -}}
{{- $p := .Values.disruption -}}
{{- $none := kindIs "invalid" $p.minAvailable -}}
{{- if eq $none (kindIs "invalid" $p.maxUnavailable) -}}
{{- include "vllm.refuse" (dict "rule" "budget-says-one-thing" "why" (printf "expected one of disruption.minAvailable and disruption.maxUnavailable, found %v and %v: set the other to null" $p.minAvailable $p.maxUnavailable)) -}}
{{- end -}}
{{- if and (not $none) (ge (int $p.minAvailable) $replicas) -}}
{{- include "vllm.refuse" (dict "rule" "budget-lets-one-go" "why" (printf "minAvailable %v of %v replicas: no node could ever be drained; expected %v at most: lower disruption.minAvailable or use maxUnavailable" $p.minAvailable $replicas (sub $replicas 1))) -}}
{{- end -}}
{{- if and $none (kindIs "string" $p.maxUnavailable) (include "vllm.multiNode" .) -}}
{{- include "vllm.refuse" (dict "rule" "budget-of-groups-is-a-number" "why" (printf "maxUnavailable %v with %v nodes a replica: a share would be one of pods; expected a number of replicas" $p.maxUnavailable .Values.nodesPerReplica)) -}}
{{- end -}}
{{- if and $none (gt $replicas 1) -}}
{{- $gone := $p.maxUnavailable -}}
{{- /* Kubernetes rounds a share up. */ -}}
{{- if kindIs "string" $gone }}{{ $gone = div (add (mul (trimSuffix "%" $gone | int) $replicas) 99) 100 }}{{ end -}}
{{- if ge (int $gone) $replicas -}}
{{- include "vllm.refuse" (dict "rule" "budget-keeps-one" "why" (printf "maxUnavailable %v of %v replicas: a drain of two nodes could take all; expected %v at most: lower disruption.maxUnavailable" $p.maxUnavailable $replicas (sub $replicas 1))) -}}
{{- end -}}
{{- end -}}
{{- if and (le $replicas 1) (eq (include "vllm.surge" . | int) 0) (not .Values.rollout.acceptOutage) -}}
{{- include "vllm.refuse" (dict "rule" "rollout-keeps-serving" "why" (printf "%v replica and %v spare GPUs: a rollout would take the model away for a cold start of %v s: raise replicas or rollout.spareGpus, or set rollout.acceptOutage" $replicas .Values.rollout.spareGpus .Values.startup.coldStartSeconds)) -}}
{{- end -}}
{{- end -}}

{{- define "vllm.rules.machine" -}}
{{- $e := .Values.engine -}}
{{- if mod (mul $e.tensorParallelSize $e.pipelineParallelSize) .Values.nodesPerReplica | int -}}
{{- include "vllm.refuse" (dict "rule" "gpus-divide-among-nodes" "why" (printf "tensor parallel %v x pipeline parallel %v GPUs do not divide among %v nodes: change engine or nodesPerReplica" $e.tensorParallelSize $e.pipelineParallelSize .Values.nodesPerReplica)) -}}
{{- end -}}
{{- if and (gt (int $e.tensorParallelSize) 1) (lt (int $e.shmGiB) 8) -}}
{{- include "vllm.refuse" (dict "rule" "shm-for-tensor-parallel" "why" (printf "%v GPUs exchange tensors through %v GiB of /dev/shm; expected 8 at least: raise engine.shmGiB" $e.tensorParallelSize $e.shmGiB)) -}}
{{- end -}}
{{- if ge (mul 2 $e.shmGiB | int) (int $e.resources.memoryGiB) -}}
{{- include "vllm.refuse" (dict "rule" "shm-within-memory" "why" (printf "/dev/shm of %v GiB counts against the %v GiB of memory; expected less than half: raise engine.resources.memoryGiB" $e.shmGiB $e.resources.memoryGiB)) -}}
{{- end -}}
{{- if and (has "t4" .Values.placement.gpus) (ne .Values.model.dtype "half") (ne .Values.model.dtype "float16") -}}
{{- include "vllm.refuse" (dict "rule" "t4-has-no-bfloat16" "why" (printf "dtype %s on T4: set model.dtype to half" .Values.model.dtype)) -}}
{{- end -}}
{{- if lt (int $e.maxNumQueuedReqs) (int $e.maxNumSeqs) -}}
{{- include "vllm.refuse" (dict "rule" "queue-holds-the-batch" "why" (printf "--max-num-queued-reqs %v counts running requests too, and a batch has %v: raise engine.maxNumQueuedReqs" $e.maxNumQueuedReqs $e.maxNumSeqs)) -}}
{{- end -}}
{{- if ne $e.simulator (eq .Values.source.kind "none") -}}
{{- include "vllm.refuse" (dict "rule" "vllm-has-weights" "why" (printf "engine.simulator is %v and source.kind is %s: vLLM needs a source, the simulator has none" $e.simulator .Values.source.kind)) -}}
{{- end -}}
{{- end -}}

{{/* Flags that a value sets, or that change what the rules count: further ones must be others. */}}
{{- define "vllm.rules.extraArgs" -}}
{{- $taken := list "model" "served-model-name" "host" "port" "uds" "grpc" "api-key" "api-server-count" "config" "max-model-len" "dtype" "quantization" "gpu-memory-utilization" "max-num-seqs" "max-num-queued-reqs" "tensor-parallel-size" "pipeline-parallel-size" "prefill-context-parallel-size" "distributed-executor-backend" "nnodes" "node-rank" "master-addr" "headless" "shutdown-timeout" -}}
{{- $families := list "data-parallel-" "ssl-" -}}
{{- range $given := .Values.engine.extraArgs -}}
{{- /* vLLM takes underscores for hyphens, and any beginning that only one of its flags has for that flag. */ -}}
{{- $flag := regexFind "^[^=.]*" $given | trimPrefix "--" | replace "_" "-" -}}
{{- $found := "" -}}
{{- range $name := $taken }}{{ if hasPrefix $flag $name }}{{ $found = $name }}{{ end }}{{ end -}}
{{- range $name := $families }}{{ if or (hasPrefix $flag $name) (hasPrefix $name $flag) }}{{ $found = printf "%s*" $name }}{{ end }}{{ end -}}
{{- if $found -}}
{{- include "vllm.refuse" (dict "rule" "extra-args-are-others" "why" (printf "engine.extraArgs has %q, which is or abbreviates --%s: the chart sets that itself, or counts on its default; use the value for it, or leave it out" $given $found)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vllm.rules.scaling" -}}
{{- $s := include "vllm.scaling" . | fromYaml -}}
{{- $cold := int .Values.startup.coldStartSeconds -}}
{{- $window := (($s.advanced.horizontalPodAutoscalerConfig).behavior.scaleDown).stabilizationWindowSeconds | default 0 | int -}}
{{- if le $window $cold -}}
{{- include "vllm.refuse" (dict "rule" "scale-down-after-cold-start" "why" (printf "scaling down waits %v s and a cold start takes %v s; expected more, or a replica let go too early costs one to get back: raise stabilizationWindowSeconds in platform/observability/triggers.yaml" $window $cold)) -}}
{{- end -}}
{{- if lt (int $s.maxReplicaCount) (int $s.minReplicaCount) -}}
{{- include "vllm.refuse" (dict "rule" "scaling-bounds" "why" (printf "at least %v replicas and at most %v: change autoscaling" $s.minReplicaCount $s.maxReplicaCount)) -}}
{{- end -}}
{{- if or (not $s.fallback) (lt (int ($s.fallback).replicas) (int $s.minReplicaCount)) -}}
{{- include "vllm.refuse" (dict "rule" "blind-holds-the-minimum" "why" (printf "a tier whose telemetry is lost falls back to %v replicas; expected %v at least: set fallback in platform/observability/triggers.yaml" (($s.fallback).replicas | default "no") $s.minReplicaCount)) -}}
{{- end -}}
{{- range $s.triggers -}}
{{- if ne (toString .metadata.ignoreNullValues) "false" -}}
{{- include "vllm.refuse" (dict "rule" "lost-telemetry-is-an-error" "why" (printf "trigger %s has ignoreNullValues %v: with \"true\", KEDA's default, a dead query reads 0 for ever" .name .metadata.ignoreNullValues)) -}}
{{- end -}}
{{- if not (contains (printf "tier=%q" $.Values.tier) .metadata.query) -}}
{{- include "vllm.refuse" (dict "rule" "trigger-asks-for-its-tier" "why" (printf "trigger %s of tier %s asks %s" .name $.Values.tier .metadata.query)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
