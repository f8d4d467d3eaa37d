"""Plays Kubernetes and EC2 on one machine, as far as an experiment observes them, and no further.

Engine replicas are real processes on named machines, which can be cordoned, lost, interrupted or
not to be had. One router, Prometheus and Redis stand beside them. Whatever Kubernetes would say
about them is said over HTTP on loopback: state, events, kube-state-metrics' series.

| module | what it knows |
|--|--|
| `settings`, `config` | what can be configured; how the file and `--set` are read |
| `up` | start, wait until ready, serve, stop |
| `control`, `orders` | what a harness may see and ask for, over HTTP with a token |
| `leases`, `effects` | puts back what a harness left that is gone; what each order changes |
| `view`, `kube_state` | what is there: as JSON, and as kube-state-metrics' series |
| `imds` | EC2's metadata service: spot notices |
| `cluster` | brings what is to what should be, one step at a time |
| `tiers`, `deployments` | what should be; rolling updates and disruption budgets. The latter pure |
| `machines`, `interruptions` | machines and capacity; what EC2 does to them |
| `gpus` | which GPUs of a machine are free and work |
| `placement` | which machine a replica goes to; how long a back-off is. Pure |
| `pod`, `pod_unit` | one replica's life and its orderly end; how it is started |
| `unit`, `process` | keeps one child running and knows whether it is ready; one child |
| `components`, `programs` | what runs beside the replicas; every command line |
| `engine_port`, `probe` | asks an engine's port for faults; asks anything whether it is ready |
| `autoscaling` | KEDA's and the HPA's loops on `platform/observability/triggers.yaml` |
| `links`, `network` | relays that play the network; which there are, and what is wrong with each |
| `models` | the model store, harm to it, and how a replica fetches its weights |
| `stored` | harms and mends the weights in the store, one order at a time |
| `discovery` | the files that the router and Prometheus follow |
| `layout` | where its files are |
| `addresses` | a loopback network of its own, or free ports |
"""
