"""What runs inside Locust: the only room that imports Locust and gevent.

Read in this order: `response` (bytes to an HTTP body), `sse` (body to events), `ledger` (words to
proofs), `answer` (events to an outcome), `connection` (sockets and their pool), `client` (one
request, its deadlines, its row), `watch` (what the worker sees of itself), `dispatch` (the load: a
schedule, or users), `master` and `courier` (a load shared by several workers, over Locust's
messages), `statistics` (what Locust's own page shows), `user` (the Locust user around it all). Only
the last four import Locust, so that the rest can be tested without patching the process.
"""
