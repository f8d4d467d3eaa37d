"""Plays `vllm serve` 0.33 without a GPU: the same API, metrics, scheduling and ways to end.

Two processes, as vLLM: the API server, and the engine core that steps. From the wire inwards:

    __main__   command line → server
    server     the life of the API server: bind, start the core, serve, signals, exit code
    listen     sockets and HTTP servers; a way to write to a connection without waiting
    chaos      a second port that takes faults: die, hang, slow down
    api        ASGI: routes, streaming, disconnects, API key
    call       one HTTP request and its answer
    dialects   the routes that ask for tokens; anthropic and responses are not in our own words
    dev        sleep, pause and the prefix cache, in vLLM's developer mode
    tokenizer  /tokenize and /detokenize
    body       request bodies: from bytes to checked types; fields: the types; errors: the objects
    generation what a body means: prompt and options; sampling: parameters and limits
    answers    writes the tokens of a request's answers, as events or as a whole
    logprobs   made-up values in vLLM's shapes
    shapes     the JSON of answers and chunks
    tokens     how many tokens a prompt has, and which words answer it
    engine     the server's side of the core: streams by request, and what comes for them
    core_process  the core as a process of its own, over a socket
    core_local    the core on the server's event loop, for tests
    core       a scheduler that is spoken to in messages, and what can happen to it. No clock
    startup    loading in phases with vLLM's log lines; weights: a folder verified on the way
    gpu        who holds the GPU's memory; gpu_state: what stays with a GPU between engines
    gpu_faults Xid errors (xid.yaml) and memory that others take
    dcgm       a third port with dcgm-exporter's page (dcgm.yaml)
    logs       lines as vLLM's logger prints them
    cost       what a step costs, as a plain sum
    scheduler  pure continuous batching: token budget, chunked prefill, preemption. No clock
    device     a GPU and a model as numbers (profiles.yaml): step times, KV blocks, OOM at start
    virtual    runs a scheduler in virtual time, leaping over steps that are alike
    blocks     the KV cache: who holds which block, and prefix caching
    fixed_timing  the same interface with known latencies, for tests of what measures latency
    metrics    the `/metrics` page, named as vLLM names it; http_metrics: the HTTP families

Every flag named `--sim-*` is the simulator's own; every other flag is vLLM's.
"""
