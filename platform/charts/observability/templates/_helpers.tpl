{{- define "observability.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: observability
app.kubernetes.io/part-of: inference-platform
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "observability.refuse" -}}
{{- fail (printf "observability: rule %s: %s" .rule .why) -}}
{{- end -}}

{{/* What must hold between values; each rule has a name. */}}
{{- define "observability.rules" -}}
{{- $p := .Values.prometheus -}}
{{- if not (.Files.Glob "files/observability/rules/*.yaml") -}}
{{- include "observability.refuse" (dict "rule" "there-are-rules" "why" "files/observability/rules holds none, so nobody would hear of anything: render from a checkout, where it is a link to platform/observability, or package the chart there") -}}
{{- end -}}
{{- if le (int $p.retentionDays) (int $p.budgetDays) -}}
{{- include "observability.refuse" (dict "rule" "retention-covers-the-budget" "why" (printf "%v days are kept and an error budget looks back %v: raise prometheus.retentionDays" $p.retentionDays $p.budgetDays)) -}}
{{- end -}}
{{- if ne (empty $p.remoteWrite.url) (empty $p.remoteWrite.region) -}}
{{- include "observability.refuse" (dict "rule" "remote-write-is-signed" "why" (printf "expected both or neither of prometheus.remoteWrite.url and .region, found %q and %q: samples are signed for a region" $p.remoteWrite.url $p.remoteWrite.region)) -}}
{{- end -}}
{{- if not $p.externalLabels.cluster -}}
{{- include "observability.refuse" (dict "rule" "cluster-has-a-name" "why" "an alert would not say of which cluster: set prometheus.externalLabels.cluster") -}}
{{- end -}}
{{- end -}}

{{- define "observability.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 2000
fsGroup: 2000
seccompProfile: {type: RuntimeDefault}
{{- end -}}
