"""The leader asks the other routers what they carry and what they have in force.

A deployment's requests are counted by the router that queues them, and only the leader scales and writes statuses: so
it needs what the others know. Twice a second it asks each of them (admin API, `/v1/report`), all at once. Who does not
answer is not zero: the loads of all deployments count as unknown until he does, or is no member any more.
"""

import asyncio
import logging
import time
from typing import Final

import aiohttp

from routerd import contract
from routerd.admin import report
from routerd.board import Board, board_of
from routerd.control import Router
from routerd.peers import Peer

_TURN_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


async def run_colleagues(router: Router) -> None:
    """Keep the board's reports of the other routers fresh while this one leads, until cancelled."""
    board = board_of(router)
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    silent: set[str] = set()
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        while True:
            ring = router.ring()
            others = ring.others() if ring and board.leading else ()
            answered = await asyncio.gather(
                *(_ask(peer, router=router, board=board, session=session) for peer in others)
            )
            for name in board.reports.keys() - {peer.name for peer in others}:
                del board.reports[name]
            silent = _note_silence(silent, now={p.name for p, told in zip(others, answered, strict=True) if not told})
            await asyncio.sleep(_TURN_SECONDS)


async def _ask(peer: Peer, *, router: Router, board: Board, session: aiohttp.ClientSession) -> bool:
    """Take in one router's report; False when there is none."""
    host = f"[{peer.address}]" if ":" in peer.address else peer.address
    url = f"http://{host}:{router.settings.admin_port}{contract.ADMIN_REPORT}"
    headers = {contract.ADMIN_TOKEN_HEADER: router.settings.read_admin_token() or ""}
    try:
        async with session.get(url, headers=headers) as answer:
            if answer.status == 200:
                board.reports[peer.name] = report.read(await answer.json(), at=time.time())
                return True
    except (aiohttp.ClientError, TimeoutError, ValueError):
        pass
    return False


def _note_silence(before: set[str], *, now: set[str]) -> set[str]:
    for name in sorted(now - before):
        log.warning("Router %s does not say what it carries: replica counts are held", name)
    for name in sorted(before - now):
        log.info("Router %s says what it carries, or is gone", name)
    return now
