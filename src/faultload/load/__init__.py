"""The workload: seeded traces, and the Locust processes that play them.

Read in this order: `arrivals` and `closed` (when), `prompts` (what is said), `trace` (both, as a
file), `plan` (what a worker is told), `checks` (what is needed here), `generator` (the door the
runner uses), `remote` (a worker on another machine), `rows` (what the workers wrote). Beside them,
`recordings` and `importing` turn public recordings into traces, and `describe` says what is in one.
`sender` is a process of its own: the traffic that faults are made of, started by command line.
`worker` is what runs inside Locust; nothing in faultload imports it, because importing Locust
patches sockets, threads and signals.
"""

from faultload.load.checks import check_recording, check_size, check_workers
from faultload.load.describe import describe
from faultload.load.generator import LoadGenerator
from faultload.load.importing import ImportOptions, import_trace
from faultload.load.remote import be_worker
from faultload.load.rows import collect_rows
from faultload.load.trace import TRACE_SCHEMA, make_trace, read_trace, write_trace

__all__ = [
    "TRACE_SCHEMA",
    "ImportOptions",
    "LoadGenerator",
    "be_worker",
    "check_recording",
    "check_size",
    "check_workers",
    "collect_rows",
    "describe",
    "import_trace",
    "make_trace",
    "read_trace",
    "write_trace",
]
