"""Plays Kubernetes on one machine, as far as an experiment observes it, and no further.

Engine replicas are real processes on named nodes; a dead one comes back after a back-off and a
cold start, under a new uid. One router, Prometheus and Redis stand beside them. Whatever Kubernetes
would say about them is said over HTTP on loopback: state, events, kube-state-metrics' series.

| module | what it knows |
|--|--|
| `config` | what can be configured; reads the file and `--set` |
| `placement` | which replica runs on which node; how long a back-off is |
| `addresses` | a loopback network of its own, or free ports |
| `programs` | where Prometheus and Redis are; every command line |
| `process` | one child process: start, signal, exit |
| `unit` | keeps one child running, and knows whether it is ready |
| `discovery` | the files that the router and Prometheus follow |
| `cluster` | the units together, and what Kubernetes would say of them |
| `control` | the same over HTTP |
| `up` | start, wait until ready, serve, stop |
"""
