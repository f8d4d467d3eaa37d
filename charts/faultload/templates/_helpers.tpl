{{- define "faultload.fullname" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* dict root, component: game-day, load or sweeper. */}}
{{- define "faultload.selector" -}}
app.kubernetes.io/name: faultload
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "faultload.labels" -}}
{{ include "faultload.selector" . }}
app.kubernetes.io/part-of: faultload
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "faultload.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}

{{- define "faultload.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The target file: what the values say, on this cluster, with the load of this chart. */}}
{{- define "faultload.target" -}}
{{- $cluster := merge (dict "context" "in-cluster" "kubeconfig" "/etc/faultload/kubeconfig") .Values.target.kubernetes -}}
{{- $target := merge (dict "kubernetes" $cluster) .Values.target -}}
{{- $load := dict -}}
{{- if .Values.load.machines -}}
{{- $load = dict "workers" (int .Values.load.machines) "listen" "0.0.0.0:5557" -}}
{{- end -}}
{{- with .Values.load.apiKeyEnv }}{{ $load = set $load "api_key_env" . }}{{ end -}}
{{- if $load }}{{ $target = set $target "load" $load }}{{ end -}}
{{- toYaml $target -}}
{{- end -}}

{{- define "faultload.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What a process of faultload needs to find its files and to keep its own. */}}
{{- define "faultload.env" -}}
- {name: HOME, value: /tmp}
- {name: XDG_STATE_HOME, value: /tmp/state}
# boto3 reads the second, other programs of AWS the first; with one of them there, EKS adds neither.
- {name: AWS_REGION, value: {{ .Values.upload.region }}}
- {name: AWS_DEFAULT_REGION, value: {{ .Values.upload.region }}}
{{- end -}}

{{/* Port of the endpoint when that is no Service of this cluster; empty when it is one. */}}
{{- define "faultload.outsidePort" -}}
{{- $url := urlParse .Values.target.kubernetes.inference_url -}}
{{- if not (regexMatch "\\.svc(\\.cluster\\.local)?$" $url.hostname) -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}
{{- end -}}

{{- define "faultload.mounts" -}}
- {name: targets, mountPath: /app/targets, readOnly: true}
- {name: kubeconfig, mountPath: /etc/faultload, readOnly: true}
- {name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "faultload.subjects" -}}
- {kind: ServiceAccount, name: {{ .Values.serviceAccount.name }}, namespace: {{ .Release.Namespace }}}
{{- range .Values.groups }}
- {kind: Group, name: {{ . | quote }}, apiGroup: rbac.authorization.k8s.io}
{{- end }}
{{- end -}}

{{- define "faultload.volumes" -}}
- name: targets
  configMap: {name: {{ include "faultload.fullname" . }}, items: [{key: target.yaml, path: {{ .Values.target.name }}.yaml}]}
- name: kubeconfig
  configMap: {name: {{ include "faultload.fullname" . }}, items: [{key: kubeconfig, path: kubeconfig}]}
- name: api-token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}
