"""The workload: seeded traces, and the Locust processes that play them.

Read in this order: `arrivals` (when), `trace` (what), `plan` (what a worker is told), `generator`
(the door the runner uses), `rows` (what the workers wrote). `worker` is what runs inside Locust;
nothing in faultload imports it, because importing Locust patches sockets, threads and signals.
"""

from faultload.load.generator import LoadGenerator
from faultload.load.rows import collect_rows
from faultload.load.trace import TRACE_SCHEMA, make_trace, read_trace, write_trace

__all__ = [
    "TRACE_SCHEMA",
    "LoadGenerator",
    "collect_rows",
    "make_trace",
    "read_trace",
    "write_trace",
]
