{{/*
The first answer, asked for by the startup probe: until it comes the pod is not ready, so no user waits for
kernels that are compiled at first use, and an engine that answers /health but makes no token gets no traffic.
*/}}
{{- define "vllm.warmUp" -}}
import json, os, sys, urllib.request
url = "http://127.0.0.1:8000/v1/chat/completions"
body = {"model": sys.argv[1], "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
headers = {"Content-Type": "application/json"}
if os.environ.get("VLLM_API_KEY"):
    headers["Authorization"] = "Bearer " + os.environ["VLLM_API_KEY"]
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
try:
    answer = json.load(urllib.request.urlopen(request, timeout=float(sys.argv[2])))
except (OSError, ValueError) as error:
    sys.exit("no first answer yet: %s" % error)
if not answer["usage"]["completion_tokens"]:
    sys.exit("the first answer has no token")
{{- end -}}

{{/* Whether the pod that serves is ready, asked by one that lends it its GPUs; LeaderWorkerSet gives the address. */}}
{{- define "vllm.askLeader" -}}
import os, sys, urllib.request
url = "http://%s:8000/health" % os.environ["LWS_LEADER_ADDRESS"]
try:
    urllib.request.urlopen(url, timeout=float(sys.argv[1]))
except (OSError, ValueError) as error:
    sys.exit("%s: %s" % (url, error))
{{- end -}}

{{/* Arguments of the engine; `worker` is true for pods of a multi-node replica that do not serve. */}}
{{- define "vllm.args" -}}
{{- $v := .root.Values -}}
- {{ if $v.engine.simulator }}{{ $v.model.name }}{{ else }}{{ printf "/models/%s/%s" $v.model.name $v.model.version }}{{ end }}
- --served-model-name={{ $v.model.name }}
- --host=0.0.0.0
- --port=8000
- --max-model-len={{ int $v.model.maxLenTokens }}
- --dtype={{ $v.model.dtype }}
{{- with $v.model.quantization }}
- --quantization={{ . }}
{{- end }}
- --gpu-memory-utilization={{ $v.engine.gpuMemoryUtilization }}
- --max-num-seqs={{ int $v.engine.maxNumSeqs }}
- --max-num-queued-reqs={{ int $v.engine.maxNumQueuedReqs }}
- --tensor-parallel-size={{ int $v.engine.tensorParallelSize }}
# Its default of 0 leaves streams open and silent at SIGTERM.
- --shutdown-timeout={{ int $v.drain.shutdownTimeoutSeconds }}
{{- if include "vllm.multiNode" .root }}
- --pipeline-parallel-size={{ int $v.engine.pipelineParallelSize }}
- --distributed-executor-backend=mp
- --nnodes={{ int $v.nodesPerReplica }}
- --node-rank=$(LWS_WORKER_INDEX)
- --master-addr=$(LWS_LEADER_ADDRESS)
{{- if .worker }}
- --headless
{{- end }}
{{- else if gt (int $v.engine.pipelineParallelSize) 1 }}
- --pipeline-parallel-size={{ int $v.engine.pipelineParallelSize }}
{{- end }}
{{- range $v.engine.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "vllm.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "vllm.engineContainer" -}}
{{- $v := .root.Values -}}
{{- $gpus := include "vllm.gpusPerPod" .root | int -}}
{{- $disk := int $v.engine.resources.scratchGiB -}}
{{- if eq $v.source.kind "s3" }}{{ $disk = add $disk $v.source.sizeGiB }}{{ end -}}
name: vllm
image: {{ include "vllm.image" $v.image }}
imagePullPolicy: {{ $v.image.pullPolicy }}
command: {{ if $v.engine.simulator }}[python, -m, inference_platform.engine_sim]{{ else }}[vllm, serve]{{ end }}
args:
  {{- include "vllm.args" . | nindent 2 }}
env:
  # The root is read-only: all that vLLM, torch and Triton keep goes here.
  - {name: HOME, value: /cache}
  - {name: XDG_CACHE_HOME, value: /cache}
  - {name: VLLM_CACHE_ROOT, value: /cache/vllm}
  - {name: TRITON_CACHE_DIR, value: /cache/triton}
  - {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
  # torch asks for the user's name, which a number without an account has not.
  - {name: USER, value: vllm}
  # Weights come from our store, checked; nothing is fetched from elsewhere, and nothing told.
  - {name: HF_HUB_OFFLINE, value: "1"}
  - {name: VLLM_NO_USAGE_STATS, value: "1"}
  - {name: VLLM_ENGINE_READY_TIMEOUT_S, value: {{ int $v.startup.budgetSeconds | quote }}}
  {{- if $v.engine.apiKeySecret.name }}
  - name: VLLM_API_KEY
    valueFrom: {secretKeyRef: {name: {{ $v.engine.apiKeySecret.name }}, key: {{ $v.engine.apiKeySecret.key }}}}
  {{- end }}
  {{- range $name, $value := $v.engine.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
ports:
  - {name: http, containerPort: 8000}
securityContext:
  {{- include "vllm.containerSecurity" .root | nindent 2 }}
resources:
  requests:
    cpu: {{ $v.engine.resources.cpu | quote }}
    memory: {{ int $v.engine.resources.memoryGiB }}Gi
    ephemeral-storage: {{ $disk }}Gi
    {{- if $gpus }}
    nvidia.com/gpu: {{ $gpus }}
    {{- end }}
  limits:
    # No limit on processors: a throttled scheduler makes every stream of the batch wait.
    memory: {{ int $v.engine.resources.memoryGiB }}Gi
    ephemeral-storage: {{ $disk }}Gi
    {{- if $gpus }}
    nvidia.com/gpu: {{ $gpus }}
    {{- end }}
{{- if not .worker }}
startupProbe:
  exec:
    command:
      - python3
      - -c
      - |
        {{- include "vllm.warmUp" .root | nindent 8 }}
      - {{ $v.model.name }}
      - {{ $v.startup.warmUpTimeoutSeconds | quote }}
  periodSeconds: {{ int $v.startup.periodSeconds }}
  # A second more than the warm-up waits, so that it says itself what was wrong.
  timeoutSeconds: {{ add $v.startup.warmUpTimeoutSeconds 1 }}
  failureThreshold: {{ div (add $v.startup.budgetSeconds (sub $v.startup.periodSeconds 1)) $v.startup.periodSeconds }}
  # vLLM swallows SIGTERM while it loads.
  terminationGracePeriodSeconds: 10
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: {{ int $v.probes.liveness.periodSeconds }}
  timeoutSeconds: {{ int $v.probes.liveness.timeoutSeconds }}
  failureThreshold: {{ int $v.probes.liveness.failures }}
  # A dead engine has nothing to drain: preStop's sleep and vLLM's last kill.
  terminationGracePeriodSeconds: {{ add $v.drain.preStopSeconds 5 }}
readinessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: {{ int $v.probes.readiness.periodSeconds }}
  timeoutSeconds: {{ int $v.probes.readiness.timeoutSeconds }}
  failureThreshold: {{ int $v.probes.readiness.failures }}
{{- else }}
# It serves nothing itself: it is ready when its replica is, so that the budget sees a group that loads as one that is away.
readinessProbe:
  exec:
    command:
      - python3
      - -c
      - |
        {{- include "vllm.askLeader" .root | nindent 8 }}
      - {{ $v.probes.readiness.timeoutSeconds | quote }}
  periodSeconds: {{ int $v.probes.readiness.periodSeconds }}
  # A second more than it waits, so that it says itself what was wrong.
  timeoutSeconds: {{ add $v.probes.readiness.timeoutSeconds 1 }}
  failureThreshold: {{ int $v.probes.readiness.failures }}
{{- end }}
lifecycle:
  preStop:
    {{- if .worker }}
    # All pods of a replica are deleted at once, and the leader drains with this one's GPUs.
    sleep: {seconds: {{ add $v.drain.preStopSeconds $v.drain.shutdownTimeoutSeconds }}}
    {{- else }}
    # Readiness does not drop while vLLM drains, and late requests get a 500: so SIGTERM waits until
    # nobody sends any more.
    sleep: {seconds: {{ int $v.drain.preStopSeconds }}}
    {{- end }}
volumeMounts:
  - {name: shm, mountPath: /dev/shm}
  - {name: cache, mountPath: /cache}
  - {name: tmp, mountPath: /tmp}
  {{- if ne $v.source.kind "none" }}
  - {name: models, mountPath: /models, readOnly: true}
  {{- end }}
{{- end -}}

{{/* Makes the folder hold the version, each file with the SHA-256 of its manifest; else the pod waits here. */}}
{{- define "vllm.fetchContainer" -}}
{{- $v := .Values -}}
name: fetch-model
image: {{ include "vllm.image" $v.source.fetch.image }}
imagePullPolicy: {{ $v.image.pullPolicy }}
command: [python, -m, inference_platform.local.models, fetch]
args:
  - --store={{ $v.source.s3Uri }}
  - --model={{ $v.model.name }}
  - --version={{ $v.model.version }}
  - --into=/models/{{ $v.model.name }}/{{ $v.model.version }}
  {{- if $v.source.fetch.verify }}
  - --verify
  {{- end }}
  # A whole version needs no store, and no right to write.
  - --offline-ok
  - --timeout={{ int $v.source.fetch.silenceSeconds }}
  - --deadline={{ int $v.source.fetch.deadlineSeconds }}
env:
  # boto3 reads the second, other programs of AWS the first; with one of them there, EKS adds neither.
  - {name: AWS_REGION, value: {{ $v.source.region }}}
  - {name: AWS_DEFAULT_REGION, value: {{ $v.source.region }}}
  - {name: HOME, value: /tmp}
securityContext:
  {{- include "vllm.containerSecurity" . | nindent 2 }}
resources:
  requests: {cpu: "1", memory: 512Mi}
  limits: {memory: 1Gi}
volumeMounts:
  - {name: models, mountPath: /models}
  - {name: tmp, mountPath: /tmp}
{{- end -}}
