"""The workload: seeded traces, and the Locust processes that play them.

Read in this order: `arrivals` and `closed` (when), `trace` (what), `plan` (what a worker is told),
`generator` (the door the runner uses), `remote` (a worker on another machine), `rows` (what the
workers wrote). `worker` is what runs inside Locust;
nothing in faultload imports it, because importing Locust patches sockets, threads and signals.
"""

from faultload.load.generator import LoadGenerator
from faultload.load.remote import be_worker
from faultload.load.rows import collect_rows
from faultload.load.trace import TRACE_SCHEMA, make_trace, read_trace, write_trace

__all__ = [
    "TRACE_SCHEMA",
    "LoadGenerator",
    "be_worker",
    "collect_rows",
    "make_trace",
    "read_trace",
    "write_trace",
]
