{{/*
What must hold between numbers. Each rule has a name; what breaks it is refused when the chart is rendered, with the
numbers and what to change. docs/deploy.md says where they come from.
*/}}
{{- define "chat.refuse" -}}
{{- fail (printf "chat: rule %s: %s" .rule .why) -}}
{{- end -}}

{{- define "chat.rules" -}}
{{- if regexMatch "^(chat-.+|fast|reasoning)$" .Release.Name -}}
{{- include "chat.refuse" (dict "rule" "release-is-no-tier" "why" (printf "the release is called %s, by which alerts know the engines of a tier (platform/observability/rules): call it chat" .Release.Name)) -}}
{{- end -}}
{{- $d := .Values.drain -}}
{{- $t := .Values.timeouts -}}
{{- $silent := max $t.firstByteSeconds $t.idleSeconds -}}
{{- if lt (int $d.preStopSeconds) (int $d.endpointRemovalSeconds) -}}
{{- include "chat.refuse" (dict "rule" "prestop-covers-endpoint-removal" "why" (printf "preStop sleeps %v s and questions still arrive for %v s, at a port that is closed by then: raise drain.preStopSeconds" $d.preStopSeconds $d.endpointRemovalSeconds)) -}}
{{- end -}}
{{- if gt (int $t.answerSeconds) (int $d.drainSeconds) -}}
{{- include "chat.refuse" (dict "rule" "drain-covers-longest-answer" "why" (printf "an answer may take %v s and is drained for %v s, then it is cut: raise drain.drainSeconds or lower timeouts.answerSeconds" $t.answerSeconds $d.drainSeconds)) -}}
{{- end -}}
{{- if gt (int $silent) (int $t.answerSeconds) -}}
{{- include "chat.refuse" (dict "rule" "answer-covers-waits" "why" (printf "a wait inside an answer may take %v s and the whole answer %v s, so that wait is never that long: lower the other timeouts or raise timeouts.answerSeconds" $silent $t.answerSeconds)) -}}
{{- end -}}
{{- $need := add $d.preStopSeconds $d.drainSeconds $d.marginSeconds -}}
{{- if ge (int $need) (int $d.graceSeconds) -}}
{{- include "chat.refuse" (dict "rule" "drain-fits-grace" "why" (printf "preStop %v s + drain %v s + margin %v s = %v s, expected less than the grace period of %v s: raise drain.graceSeconds or lower drain.drainSeconds" $d.preStopSeconds $d.drainSeconds $d.marginSeconds $need $d.graceSeconds)) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (ge (int .Values.disruption.maxUnavailable) (int .Values.replicas)) -}}
{{- include "chat.refuse" (dict "rule" "budget-keeps-one" "why" (printf "%v of %v replicas may be evicted at a time, so all: lower disruption.maxUnavailable" .Values.disruption.maxUnavailable .Values.replicas)) -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if .enabled -}}
{{- if le (int .idleTimeoutSeconds) (int $silent) -}}
{{- include "chat.refuse" (dict "rule" "balancer-outlasts-silence" "why" (printf "the load balancer closes a connection after %v s of silence and the chat allows %v s; expected more, or users get a 504 from it: raise ingress.idleTimeoutSeconds" .idleTimeoutSeconds $silent)) -}}
{{- end -}}
{{- if and $.Values.network.enabled (not $.Values.network.clientCidrs) (not $.Values.network.clientNamespaces) -}}
{{- include "chat.refuse" (dict "rule" "balancer-may-enter" "why" "ingress.enabled, and nobody may reach the chat: set network.clientCidrs to the subnets of the load balancer, or network.clientNamespaces to that of the ingress controller") -}}
{{- end -}}
{{- $notes := .annotations | default dict -}}
{{- if eq .className "alb" -}}
{{- range $note, $_ := include "chat.balancer" $ | fromYaml -}}
{{- if hasKey $notes $note -}}
{{- include "chat.refuse" (dict "rule" "annotation-is-said-once" "why" (printf "ingress.annotations has %s, which the chart sets from its own values: change those of ingress or drain" $note)) -}}
{{- end -}}
{{- end -}}
{{- $auth := get $notes "alb.ingress.kubernetes.io/auth-type" -}}
{{- $else := get $notes "alb.ingress.kubernetes.io/auth-on-unauthenticated-request" -}}
{{- if and (eq .scheme "internet-facing") (or (not (has $auth (list "cognito" "oidc"))) (not (has $else (list "" "authenticate" "deny")))) -}}
{{- include "chat.refuse" (dict "rule" "strangers-sign-in" "why" (printf "ingress.scheme is internet-facing, and whoever finds the page asks with your key; expected in ingress.annotations alb.ingress.kubernetes.io/auth-type cognito or oidc, and auth-on-unauthenticated-request authenticate, deny or not there, found %q and %q: let the load balancer sign users in, or make it internal" $auth $else)) -}}
{{- end -}}
{{- else if not .keepsStrangersOut -}}
{{- include "chat.refuse" (dict "rule" "strangers-sign-in" "why" (printf "ingress.className is %s, and the chart cannot see whom that lets in; whoever finds the page asks with your key: where it signs users in, or cannot be reached from outside, set ingress.keepsStrangersOut" .className)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $p := .Values.probes -}}
{{- if gt (int $p.timeoutSeconds) (int $p.periodSeconds) -}}
{{- include "chat.refuse" (dict "rule" "probe-timeout-within-period" "why" (printf "%s waits %v s every %v s: lower probes.%s.timeoutSeconds" $name $p.timeoutSeconds $p.periodSeconds $name)) -}}
{{- end -}}
{{- end -}}
{{- $ready := mul .Values.probes.readiness.periodSeconds .Values.probes.readiness.failures -}}
{{- $alive := mul .Values.probes.liveness.periodSeconds .Values.probes.liveness.failures -}}
{{- if le (int $alive) (int $ready) -}}
{{- include "chat.refuse" (dict "rule" "liveness-after-readiness" "why" (printf "liveness fails after %v s and readiness after %v s; expected liveness later, or a busy chat is killed while it still gets traffic: raise probes.liveness" $alive $ready)) -}}
{{- end -}}
{{- end -}}
