"""Waits until a game day is over, then writes its reports to a bucket: a sidecar's SIGTERM says so.

`upload.py FOLDER s3://BUCKET/PREFIX`; nothing that is in the bucket already is written over.
"""

# ruff: noqa: INP001 (a program of its own, in a ConfigMap)
import signal
import sys
import threading
from pathlib import Path

from faultload.errors import FaultloadError
from faultload.targets.objects import ObjectStore


def upload(folder: Path, url: str) -> int:
    """Write every file below a folder; 0, or 69 and a line that says why not."""
    try:
        store = ObjectStore(url)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        new = [store.create(str(path.relative_to(folder)), path.read_bytes()) for path in files]
    except (FaultloadError, OSError) as error:
        sys.stderr.write(f"upload: {error}\n")
        return 69
    sys.stdout.write(f"upload: {sum(new)} of {len(files)} files are new in {url}\n")
    return 0


if __name__ == "__main__":
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    over.wait()
    sys.exit(upload(Path(sys.argv[1]), sys.argv[2]))
