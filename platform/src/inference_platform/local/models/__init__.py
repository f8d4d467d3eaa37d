"""A model store, as S3 is one: what it holds, what can be wrong with it, and how a pod reads it.

Bucket `models`; under each model `current` names the version in service, and `<version>/` holds
`manifest.json`, `config.json` and the weights. The weights are small stand-ins. S3 itself is played
by moto's server on loopback; everything here talks S3's REST API to it. On a cluster the
same init container fetches from S3 itself.

| module | what it knows |
|--|--|
| `errors` | what a store or a cache can say no with |
| `layout` | keys, manifest, the bytes of a stand-in |
| `s3` | S3 over HTTP, every wait bounded |
| `signed` | S3 as AWS has it, for reading; boto3 signs |
| `store` | publish, harm, restore and look at a model in the store |
| `manifest` | what a folder of weights holds, before it is copied to a store |
| `cache` | what a pod's init container does: fetch a model into a directory |
| `server` | moto's S3 as a process |
"""
