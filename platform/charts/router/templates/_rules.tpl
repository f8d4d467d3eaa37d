{{/*
What must hold between numbers. Each rule has a name; what breaks it is refused when the chart is rendered, with the
numbers and what to change. docs/deploy.md says where they come from.
*/}}
{{- define "router.refuse" -}}
{{- fail (printf "router: rule %s: %s" .rule .why) -}}
{{- end -}}

{{- define "router.rules" -}}
{{- $d := .Values.drain -}}
{{- $t := .Values.timeouts -}}
{{- if lt (int $d.preStopSeconds) (int $d.endpointRemovalSeconds) -}}
{{- include "router.refuse" (dict "rule" "prestop-covers-endpoint-removal" "why" (printf "preStop sleeps %v s and requests still arrive for %v s, at a port that is closed by then: raise drain.preStopSeconds" $d.preStopSeconds $d.endpointRemovalSeconds)) -}}
{{- end -}}
{{- if gt (int $t.answerSeconds) (int $d.drainSeconds) -}}
{{- include "router.refuse" (dict "rule" "drain-covers-longest-answer" "why" (printf "an answer, streamed or not, may take %v s and is drained for %v s, then it is cut: raise drain.drainSeconds or lower timeouts.answerSeconds" $t.answerSeconds $d.drainSeconds)) -}}
{{- end -}}
{{- $wait := max $t.firstByteSeconds $t.idleSeconds -}}
{{- if gt (int $wait) (int $t.answerSeconds) -}}
{{- include "router.refuse" (dict "rule" "answer-covers-waits" "why" (printf "a wait inside an answer may take %v s and the whole answer %v s, so that wait is never that long: lower the other timeouts or raise timeouts.answerSeconds" $wait $t.answerSeconds)) -}}
{{- end -}}
{{- $need := add $d.preStopSeconds $d.drainSeconds $d.marginSeconds -}}
{{- if ge (int $need) (int $d.graceSeconds) -}}
{{- include "router.refuse" (dict "rule" "drain-fits-grace" "why" (printf "preStop %v s + drain %v s + margin %v s = %v s, expected less than the grace period of %v s: raise drain.graceSeconds or lower drain.drainSeconds" $d.preStopSeconds $d.drainSeconds $d.marginSeconds $need $d.graceSeconds)) -}}
{{- end -}}
{{- $replicas := include "router.replicasMin" . | int -}}
{{- if and (gt $replicas 1) (ge (int .Values.disruption.maxUnavailable) $replicas) -}}
{{- include "router.refuse" (dict "rule" "budget-keeps-one" "why" (printf "%v of %v routers may be evicted at a time, so all: lower disruption.maxUnavailable" .Values.disruption.maxUnavailable $replicas)) -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) -}}
{{- include "router.refuse" (dict "rule" "scaling-bounds" "why" (printf "at least %v replicas and at most %v: change autoscaling" .minReplicas .maxReplicas)) -}}
{{- end -}}
{{- if and .enabled (lt (int .scaleDownWindowSeconds) (int $d.graceSeconds)) -}}
{{- include "router.refuse" (dict "rule" "scale-down-after-drain" "why" (printf "scaling down waits %v s and a router takes up to %v s to go; expected no less, or several drain at a time: raise autoscaling.scaleDownWindowSeconds" .scaleDownWindowSeconds $d.graceSeconds)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- if le (int .Values.ingress.idleTimeoutSeconds) (int $t.answerSeconds) -}}
{{- include "router.refuse" (dict "rule" "balancer-outlasts-silence" "why" (printf "the load balancer closes a connection after %v s of silence and a reply that is not streamed may be silent for %v s; expected more, or users get a 504 from it: raise ingress.idleTimeoutSeconds" .Values.ingress.idleTimeoutSeconds $t.answerSeconds)) -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.targetGroupBinding.arn) .Values.network.enabled (not .Values.network.clientCidrs) -}}
{{- include "router.refuse" (dict "rule" "balancer-may-enter" "why" "there is a load balancer (ingress.enabled or targetGroupBinding.arn), and no address outside the cluster may reach a router: set network.clientCidrs to the subnets of the load balancer") -}}
{{- end -}}
{{- range $name, $p := .Values.probes -}}
{{- if gt (int $p.timeoutSeconds) (int $p.periodSeconds) -}}
{{- include "router.refuse" (dict "rule" "probe-timeout-within-period" "why" (printf "%s waits %v s every %v s: lower probes.%s.timeoutSeconds" $name $p.timeoutSeconds $p.periodSeconds $name)) -}}
{{- end -}}
{{- end -}}
{{- $ready := mul .Values.probes.readiness.periodSeconds .Values.probes.readiness.failures -}}
{{- $alive := mul .Values.probes.liveness.periodSeconds .Values.probes.liveness.failures -}}
{{- if le (int $alive) (int $ready) -}}
{{- include "router.refuse" (dict "rule" "liveness-after-readiness" "why" (printf "liveness fails after %v s and readiness after %v s; expected liveness later, or a busy router is killed while it still gets traffic: raise probes.liveness" $alive $ready)) -}}
{{- end -}}
{{- end -}}
