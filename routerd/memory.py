"""What stays for good is kept out of Python's search for cycles.

With a thousand endpoints the search looks at a million objects for 80 ms, now and then, and a change of a replica that
meets it waits as long. What the first table is made of is still freed when nothing refers to it any more; only cycles
among these objects would stay, and they form none.
"""

import gc

from routerd.control import Router


async def run_memory(router: Router) -> None:
    """Until the first table is in force; then there is nothing left to do."""
    seen = 0
    while not router.ready():
        seen = await router.wait_change(seen=seen)
    leave_to_reference_counts()


def leave_to_reference_counts() -> None:
    """Leave all objects there are to their reference counts."""
    gc.freeze()
