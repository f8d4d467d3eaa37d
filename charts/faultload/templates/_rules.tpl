{{/*
What must hold between values. Each rule has a name; what breaks it is refused when the chart is rendered, with what to
change. docs/deploy.md says why.
*/}}
{{- define "faultload.refuse" -}}
{{- fail (printf "faultload: rule %s: %s" .rule .why) -}}
{{- end -}}

{{- define "faultload.rules" -}}
{{- $t := .Values.target -}}
{{- $g := .Values.gameDay -}}
{{- if not (regexMatch "^(localhost|[^/]*[.:][^/]*)/." .Values.image.repository) -}}
{{- include "faultload.refuse" (dict "rule" "image-has-a-registry" "why" (printf "image.repository is %q; expected a registry and a name: without a registry a node asks Docker Hub, where nothing is ours; set it to such as ACCOUNT.dkr.ecr.REGION.amazonaws.com/inference-ENV/faultload" .Values.image.repository)) -}}
{{- end -}}
{{- if and $t.production $g.enabled -}}
{{- include "faultload.refuse" (dict "rule" "no-standing-consent" "why" (printf "target %s is production, where a person confirms each run, and a schedule is nobody: set gameDay.enabled to false and start runs yourself" $t.name)) -}}
{{- end -}}
{{- range $t.kubernetes.namespaces -}}
{{- if eq . $.Release.Namespace -}}
{{- include "faultload.refuse" (dict "rule" "breaks-others-only" "why" (printf "namespace %s is the harness's own: it could end itself in the middle of a run; take it out of target.kubernetes.namespaces" .)) -}}
{{- end -}}
{{- end -}}
{{- $p := merge (dict) ($t.phases | default dict) (dict "warmup_s" 60 "baseline_s" 300 "hold_s" 120 "recovery_s" 600) -}}
{{- $each := add $p.warmup_s $p.baseline_s $p.hold_s $p.recovery_s -}}
{{- $need := 0 -}}
{{- range $g.plan.steps -}}
{{- $need = add $need $each (max 120 (int (.cooldown_s | default 0))) -}}
{{- end -}}
{{- if and $g.enabled (gt (int $need) (int $g.deadlineSeconds)) -}}
{{- include "faultload.refuse" (dict "rule" "deadline-covers-the-plan" "why" (printf "%v steps of %v s, and up to 120 s or their cooldown until the target is steady, are %v s; after %v s it is ended: raise gameDay.deadlineSeconds" (len $g.plan.steps) $each $need $g.deadlineSeconds)) -}}
{{- end -}}
{{- if not .Values.sweeper.enabled -}}
{{- range .Values.capabilities -}}
{{- if has . (list "cordon-node" "drain-node" "scale" "scale-workload" "bad-release" "partition") -}}
{{- include "faultload.refuse" (dict "rule" "somebody-sweeps" "why" (printf "%s leaves a change that must be taken back, also when the run that made it is lost: set sweeper.enabled" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if hasKey $t "load" -}}
{{- include "faultload.refuse" (dict "rule" "load-is-said-once" "why" "target.load and load both say where load comes from: take load out of target, and set load.machines and load.apiKeyEnv") -}}
{{- end -}}
{{- if and $g.enabled (kindIs "invalid" .Values.load.apiKeyEnv) -}}
{{- include "faultload.refuse" (dict "rule" "key-is-said" "why" "nobody said whether the endpoint asks for a key, and without it every request of a game day would be refused: set load.apiKeyEnv to the variable that gameDay.secrets fills with it, or to \"\" where there is none") -}}
{{- end -}}
{{- if and .Values.load.apiKeyEnv (not (hasKey $g.secrets .Values.load.apiKeyEnv)) -}}
{{- include "faultload.refuse" (dict "rule" "key-has-a-secret" "why" (printf "load.apiKeyEnv names %s, which gameDay.secrets does not fill: add it there" .Values.load.apiKeyEnv)) -}}
{{- end -}}
{{- end -}}
