"""The chat workload for a person with Locust, its page, its master and workers; see docs/load.md.

locust -f scenarios/locustfile.py --host http://127.0.0.1:8000 [--scenario FILE] [--duration S]
"""  # noqa: INP001 (a folder of files, not a package)

from faultload.load.worker.user import ChatUser

__all__ = ["ChatUser"]
