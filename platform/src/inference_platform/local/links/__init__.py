"""Links: loopback TCP relays that play the network between two machines.

A link stands in front of one engine replica, or of Redis. One process carries them all, does what
links.json says, and says in links.json.applied that it did (`follow`):

    python -m inference_platform.local.links --file links.json [--seed N] [--die-with-parent]

Nothing here needs privileges. The price is that a relay ends TCP on both of its sides, while
`tc netem` works on packets below it. So each condition stands for something, and is not that thing:

latency_s
    Distance. Each way, so that a round trip takes twice as much longer. What was under way when it
    changes arrives as it would have. The kernel completes a caller's handshake before we see it, so
    the round trip that it would take is added before its first bytes: the first reply comes when it
    would, but a caller's connect timeout sees nothing of it. At most 128 KiB a connection and
    direction are under way; beyond, the sender waits, as for a receive window of that size. Timers
    count milliseconds: bytes are up to 2 ms late, and never early.
jitter_s
    Queues elsewhere. Uniform, up to so much more or less for each chunk read; below 0 is 0. Order
    is kept, so a chunk can wait for the one before it (netem reorders packets instead).
bandwidth_bytes_per_s
    A narrow place: one token bucket a link and direction, 10 ms deep or 1500 bytes, with one queue
    for all connections. Senders feel it only when a buffer is full: of the kernel or ours. Nothing
    is dropped, so there are no retransmissions. A changed rate holds for what waits already.
reset_ratio
    A middlebox that loses its table. This share of new connections gets RST on both sides: at
    once, on the caller's first bytes, or on the callee's first bytes, each as likely. Whenever the
    ratio is changed to more than 0, each open connection is reset with this probability as well.
partitioned
    A cut cable. Nothing passes, nothing closes, nothing is lost: what was sent arrives when it
    heals, at once, where TCP would wait for its next retransmission. Whoever writes still gets the
    acknowledgement of the kernel on this side, so TCP_USER_TIMEOUT and keepalives see nothing.
    On Linux the accept queue is kept full, so that SYNs are dropped, connect() times out, and one
    that is still trying when it heals gets through with its next SYN. Elsewhere the
    kernel may complete some handshakes; such connections are silent, and go on when it heals.

Whatever the conditions: FIN and RST are passed on as such, in order with the bytes before them, so
a callee that is killed is a cut for its callers. When nobody listens there, a caller's connect
succeeds and RST follows (so soon, at times, that the connect itself is reset): a relay cannot
refuse. An acknowledgement of bytes means that we have them, not that the callee has. Callees see
our address. A link that is removed resets its connections; one whose `to` changes keeps them and
uses the new one for others.

| module | what it knows |
|--|--|
| `document` | what links.json can say |
| `path` | one direction as arithmetic: token bucket, delays, order |
| `connection` | two sockets, and what each sends on its way to the other |
| `live` | one link at work: listening, partition, resets |
| `follow` | the file, and the acknowledgement |
| `file` | the supervisor's side of both |
"""
