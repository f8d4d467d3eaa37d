"""Scales tiers as KEDA and Kubernetes' HorizontalPodAutoscaler do, on Prometheus' word.

Two loops run for each scaled object, as in a cluster: KEDA's operator polls the triggers and wakes
a tier from zero or puts it to sleep; the HPA syncs every 15 seconds and decides between the minimum
and the maximum. docs/autoscaling.md says how they play together and what is left out.

| module | what it knows |
|--|--|
| `spec` | what platform/observability/triggers.yaml may say |
| `decision` | what the loops are told, and what they answer |
| `hpa` | the HPA's arithmetic: proposals, stabilization, policies. Pure |
| `algorithm` | KEDA's part on top: activity, cool-down, fallback. Pure |
| `prometheus` | one instant query, read as KEDA's Prometheus scaler reads it |
| `scaler` | runs both loops for every scaled object |
"""
