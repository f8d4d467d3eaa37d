"""The chat workload for a person with Locust; the harness starts its workers by itself.

locust -f scenarios/locustfile.py --host http://127.0.0.1:8000 --users 1 [--scenario FILE]
"""  # noqa: INP001 (a folder of files, not a package)

from faultload.load.worker.user import ChatUser

__all__ = ["ChatUser"]
