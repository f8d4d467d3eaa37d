"""Plays `vllm serve` 0.33 without a GPU: the same API, metrics, scheduling and ways to end.

One process, one event loop. From the wire inwards:

    __main__   command line → server
    server     the life of the process: bind, start up, serve, signals, exit code
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
    engine     drives a scheduler on the wall clock and hands its tokens to the streams
    scheduler  pure continuous batching: token budget, chunked prefill, preemption. No clock
    device     a GPU and a model as numbers (profiles.yaml): step times, KV blocks, OOM at start
    virtual    runs a scheduler in virtual time, leaping over steps that are alike
    blocks     the KV cache: who holds which block, and prefix caching
    fixed_timing  the same interface with known latencies, for tests of what measures latency
    metrics    the `/metrics` page, named as vLLM names it; http_metrics: the HTTP families

Every flag named `--sim-*` is the simulator's own; every other flag is vLLM's.
"""
