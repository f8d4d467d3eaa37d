"""What a worker tells its master, and what the master makes of it, over a channel that fails.

Importing Locust patches the process, so each case runs in one of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from loads import BOUND_S

COMMON = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import gevent, orjson
from locust.exception import RPCError
from locust.runners import MasterRunner
from faultload.load.plan import EndNote, MasterPlan, WorkerPlan
from faultload.load.rows import rows_lost
from faultload.load.worker import courier, master
from faultload.spec.scenario import Timeouts
from loads import made_trace

here = Path.cwd()
def orders(out):
    return WorkerPlan(worker=0, workers=1, trace=here / "trace.parquet", base_url="http://x",
                      timeouts=Timeouts(), ignore_eos=True, out=out, parent_pid=0)
class Channel:
    custom_messages = {}
    last_heartbeat_timestamp = None
    def __init__(self):
        self.sent, self.broken = [], False
    def register_message(self, name, listener, concurrent=False):
        self.custom_messages[name] = listener
    def hear(self, name, data, node_id="w1"):
        self.custom_messages["faultload_" + name](msg=SimpleNamespace(data=data, node_id=node_id))
    def send_message(self, name, data=None, client_id=None):
        if self.broken:
            raise RPCError("broken")
        self.sent.append((name.removeprefix("faultload_"), data))
"""

WORKER = """
class Master(Channel):
    def send_message(self, name, data=None, client_id=None):
        super().send_message(name, data)
        if name == "faultload_hello":
            data = {"plan": orders(Path("/nowhere")).model_dump_json(), "trace": b"trace"}
            self.hear("orders", data)
        if name == "faultload_clock":  # the master's clock is a hundred seconds ahead
            self.hear("clock", {**data, "unix_s": time.time() + 100})

channel, ended = Master(), []
courier.tempfile.tempdir = str(here)
one = courier.Courier(channel, lambda: ended.append(1))
plan = one.fetch()
assert plan.trace.read_bytes() == b"trace" and plan.out.parent == here
plan.ready_path.write_bytes(b"{}")
one.start()
ready = orjson.loads(plan.ready_path.read_bytes())
assert ready["clock_error_s"] < 0.1 and abs(ready["clock_ahead_s"] + 100) < 0.1
channel.hear("go", {"t0_unix_s": 1000.0})
assert abs(orjson.loads(plan.go_path.read_bytes())["t0_unix_s"] - 900) < 0.1

def received():
    pieces = [d for n, d in channel.sent if n == "file" and d["name"] == "rows-0.jsonl"]
    return [(piece["offset"], piece["data"]) for piece in pieces]
plan.rows_path.write_bytes(b"one\\n")
gevent.sleep(0.2)
channel.broken = True  # nothing is skipped: what could not be sent is sent later
plan.rows_path.write_bytes(b"one\\ntwo\\n")
gevent.sleep(0.2)
channel.broken = False
gevent.sleep(0.2)
assert received() == [(0, b"one\\n"), (4, b"two\\n")], received()

# A master that falls silent is gone: the load ends, and so does the worker.
left = []
courier.os._exit = left.append
courier._SILENCE_S_MAX = 0.2
until = time.monotonic() + 10
while not left and time.monotonic() < until:
    channel.last_heartbeat_timestamp = 1.0
    gevent.sleep(0.05)
assert ended and left == [1]
"""

MASTER = """
made_trace(here / "trace.parquet", 1)
channel = Channel()
channel.__class__ = type("M", (Channel, MasterRunner), {})
channel.greenlet = gevent.pool.Group()
channel.clients = {"w1": SimpleNamespace(state="running")}
plan = orders(here)
plan.path.write_text(plan.model_dump_json())
one = master.Master(SimpleNamespace(runner=channel))
channel.hear("hello", {"share": None})
assert channel.sent.pop() == ("orders", None)  # there is no load yet
one.begin(MasterPlan(workers=1, out=here))
channel.hear("hello", {"share": None})
assert orjson.loads(channel.sent.pop()[1]["plan"])["worker"] == 0
channel.hear("hello", {"share": None}, "w2")
assert channel.sent.pop() == ("orders", None)  # every share is taken

def piece(name, offset, data, node_id="w1"):
    channel.hear("file", {"name": name, "offset": offset, "data": data}, node_id)
note = EndNote(rows=3, sha256="")
piece("../trace.parquet", 0, b"x")  # a name from elsewhere is no path here
piece("rows-0.jsonl", 0, b"stranger\\n", "w2")
piece("rows-0.jsonl", 0, b"one\\n")
piece("rows-0.jsonl", 8, b"three\\n")  # the piece before it was lost
assert plan.rows_path.read_bytes() == b"one\\n"
piece("end-0.json", 0, note.model_dump_json().encode())
assert rows_lost(plan) == 2
assert ("kept", None) not in channel.sent  # so the worker keeps its own
plan.end_path.unlink()
piece("rows-0.jsonl", 4, b"two\\nthree\\n")
whole = EndNote.of(plan.rows_path)
assert whole.rows == 3
piece("end-0.json", 0, whole.model_dump_json().encode())
assert ("kept", None) in channel.sent and rows_lost(plan) == 0

# The start is passed on once all are ready; a worker that is missed is written down.
plan.end_path.unlink()
plan.ready_path.write_bytes(b"{}")
gevent.sleep(0.2)
assert [n for n, _ in channel.sent].count("go") == 1 and not plan.lost_path.exists()
channel.clients["w1"].state = "missing"
gevent.sleep(0.2)
assert "heartbeat" in orjson.loads(plan.lost_path.read_bytes())["why"]
one.end()  # waits for nobody who is lost
"""


@pytest.mark.local
@pytest.mark.parametrize("case", [WORKER, MASTER], ids=["worker", "master"])
def test_nothing_is_lost_unseen(case: str, tmp_path: Path) -> None:
    """Pieces that fail are sent again; a gap is never papered over, and the end note tells."""
    support = Path(__file__).parents[2] / "support"
    code = f"import sys; sys.path.insert(0, {str(support)!r})\n{COMMON}{case}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
