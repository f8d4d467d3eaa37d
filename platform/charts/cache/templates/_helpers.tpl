{{- define "cache.fullname" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "cache.selector" -}}
app.kubernetes.io/name: redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cache.labels" -}}
{{ include "cache.selector" . }}
app.kubernetes.io/component: cache
app.kubernetes.io/part-of: inference-platform
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "cache.probe" -}}
exec:
  command:
    - sh
    - -c
    # redis-cli ends with 0 also when it was answered with an error.
    - {{ if .root.Values.passwordSecret.name }}REDISCLI_AUTH="$(cat /auth/password)" {{ end }}redis-cli ping | grep -qx PONG
periodSeconds: {{ int .probe.periodSeconds }}
timeoutSeconds: {{ int .probe.timeoutSeconds }}
failureThreshold: {{ int .probe.failures }}
{{- end -}}

{{- define "cache.refuse" -}}
{{- fail (printf "cache: rule %s: %s" .rule .why) -}}
{{- end -}}

{{/* What must hold between values; each rule has a name. */}}
{{- define "cache.rules" -}}
{{- $m := .Values.memory -}}
{{- if gt (mul 5 $m.maxMiB | int) (mul 4 $m.limitMiB | int) -}}
{{- include "cache.refuse" (dict "rule" "keys-fit-the-limit" "why" (printf "keys may take %v MiB of a limit of %v MiB; expected four fifths at most, or the kernel ends Redis before it forgets anything: raise memory.limitMiB" $m.maxMiB $m.limitMiB)) -}}
{{- end -}}
{{- if not (or .Values.passwordSecret.name .Values.network.enabled) -}}
{{- include "cache.refuse" (dict "rule" "not-open-to-all" "why" "no password and no NetworkPolicy: every pod of the cluster could read and write; set passwordSecret.name or network.enabled") -}}
{{- end -}}
{{- end -}}
