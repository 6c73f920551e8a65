"""A node that has the result of a run on several nodes says so to the others, which may lack it."""

from __future__ import annotations

import time
from dataclasses import replace

from normbench.errors import NormbenchError
from normbench.launch.rendezvous import HAS_RESULT, LOOK_SECONDS, Meeting, store_of

TELL_SECONDS = 30.0  # how long it stays for that


def tell_result(meeting: Meeting) -> None:
    """Tells the other nodes that this one has the run's result, so that they do not wait for it in vain.

    Waits for them for TELL_SECONDS at most. Nodes that share the run folder tell each other.

    Args:
        meeting: That of the first rank of this node.
    """
    node = replace(meeting.node, seconds=min(TELL_SECONDS, meeting.node.seconds))
    own = range(meeting.rank, meeting.rank + meeting.devices)
    try:
        store = store_of(replace(meeting, node=node))
        for rank in own:
            store.set(f"rank {rank}", meeting.run + HAS_RESULT)
        read, deadline = store.add("read", meeting.devices), time.monotonic() + node.seconds
        while node.rank == 0 and read < meeting.world and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            read = store.add("read", 0)
    except (NormbenchError, RuntimeError):
        return  # nobody has come
