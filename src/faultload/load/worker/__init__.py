"""What runs inside Locust: the only room that imports Locust and gevent.

Read in this order: `response` (bytes to an HTTP body), `sse` (body to events), `ledger` (words
to proofs), `answer` (events to an outcome), `connection` (sockets and their pool), `client` (one
request, its deadlines, its row), `dispatch` (the schedule, released open loop), `user` (the Locust
user around it all). Only `user` imports Locust, so that the rest can be tested without patching the
process.
"""
