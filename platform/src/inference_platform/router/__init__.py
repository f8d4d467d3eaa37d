"""The inference router: one OpenAI-compatible door in front of vLLM engine replicas.

Read in this order: `settings` (what can be set), `endpoints` (which replicas exist), `fleet`
(which of them may serve now), `upstream` (connections to them), `relay` (one request, its retries
and its stream), `entry` (the two hot ASGI routes), `app` (everything assembled).
"""
