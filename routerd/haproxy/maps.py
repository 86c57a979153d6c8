"""The files HAProxy starts from, and their records.

    haproxy.cfg routerd.lua problems.map     follow from the settings and this release
    endpoints.map keys.map pins.map ...      the table in force
    slots.cfg                                every slot with its servers
    token-keys/ token-keys.cfg               public keys that tokens are signed with, and that they be loaded
    peers.cfg                                where other routers come in, and a seat for each of them
    slots.json servers.json seats.json       the same as data: the .cfg files are made from them anew at each start
    tls/                                     certificates, see certificates.py
    peer.pem peers.pem                       what routers know each other by

Files are replaced, never written in place, so HAProxy can be started at any moment. `slots.json` is written
*before* a change is made in HAProxy (a new control process must not give a slot in use to another
deployment), the others right after it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from routerd.haproxy.certificates import prepare_certificates
from routerd.haproxy.config import (
    Server,
    render_config,
    render_lua,
    render_peers,
    render_slot,
    render_token_keys,
)
from routerd.haproxy.problems import problems_map
from routerd.identity import ensure_identity
from routerd.settings import Settings
from routerd.slots import SlotTable

FORMAT: Final = "7"  # grows when records in maps change: those of another release mean nothing to our rules
# In the order in which a new endpoint needs them.
MAP_NAMES: Final = ("slots", "keys", "tokens", "pins", "cors", "endpoints", "hosts", "usual")
_SLOTS_HEAD: Final = "# Written by routerd: every slot with the replicas it has now.\n\n"
SERVING: Final = "serving"  # in state.map: other routers may pass requests here


class HaproxyFiles:
    """The run directory as HAProxy's starting point."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written: dict[str, str] = {}
        self._rendered: dict[str, tuple[tuple[Server, ...], str, str]] = {}  # slot -> servers, config, JSON
        self._kept: dict[str, object] = {}  # what the files were last made from, so that unchanged ones cost nothing

    @property
    def configuration(self) -> tuple[Path, ...]:
        """What HAProxy is started with, in order."""
        peers = (self._path("peers.cfg"),) if self._settings.peer_port else ()
        return self._path("haproxy.cfg"), self._path("token-keys.cfg"), self._path("slots.cfg"), *peers

    def map_path(self, name: str) -> Path:
        """Where a map lies; HAProxy knows it by this path."""
        return self._path(f"{name}.map")

    def prepare(self) -> SlotTable:
        """Write everything HAProxy needs to start with the last table (or an empty one); the slots it will have."""
        self._token_keys.mkdir(parents=True, exist_ok=True)
        slots = self.read_slots()
        self._write("routerd.lua", render_lua())
        self._write("problems.map", _as_map(problems_map()))
        self._write("state.map", "")
        self.write_slots(slots)
        self.write_servers(slots, servers=self.read_servers())
        self._write("token-keys.cfg", self._render_token_keys(path.stem for path in self._token_keys.glob("*.pem")))
        if self._settings.peer_port:
            ensure_identity(self._settings.run_dir, secret=self._settings.read_admin_token() or "")
            self.write_seats(self.read_seats())
        if self._settings.tls_port:
            prepare_certificates(self._settings)
        for name in MAP_NAMES:
            if not self.map_path(name).exists() or not self.understood():
                self._write(f"{name}.map", "")
        self._write("format", FORMAT)
        return slots

    def understood(self) -> bool:
        """Whether what lies here, and any HAProxy that runs from it, was written in this release's format."""
        path = self._path("format")
        return path.exists() and path.read_text() == FORMAT

    def read_slots(self) -> SlotTable:
        """The slots on disk, with at least as many of each class as the settings ask for."""
        path = self._path("slots.json")
        slots = SlotTable.from_json(path.read_text()) if path.exists() else SlotTable()
        sizes = {wait: max(count, self._settings.slots.get(wait, 0)) for wait, count in slots.sizes.items()}
        return SlotTable(sizes={**self._settings.slots, **sizes}, owners=slots.owners, resting=slots.resting)

    def write_slots(self, slots: SlotTable) -> None:
        """Keep the slot table, and the wait classes HAProxy must know."""
        if self._is_kept("slots.json", slots):
            return
        self._write("slots.json", slots.to_json())
        self._write("haproxy.cfg", render_config(self._settings, sizes=slots.sizes))

    def read_servers(self) -> dict[str, tuple[Server, ...]]:
        """The servers HAProxy would start with, by slot."""
        path = self._path("servers.json")
        if not path.exists():
            return {}
        data = json.loads(path.read_text())
        return {slot: tuple(Server(*row) for row in rows) for slot, rows in data.items()}

    def write_servers(self, slots: SlotTable, *, servers: Mapping[str, Iterable[Server]]) -> None:
        """Keep the servers, for HAProxy and for the next `prepare`."""
        if self._is_kept("slots.cfg", (slots.sizes, servers)):
            return
        parts = [self._render(slot, servers=tuple(servers.get(slot, ()))) for slot in slots.names()]
        self._write("servers.json", "{" + ", ".join(data for _, data in parts if data) + "}")
        self._write("slots.cfg", _SLOTS_HEAD + "".join(config for config, _ in parts))

    def _render(self, slot: str, *, servers: tuple[Server, ...]) -> tuple[str, str]:
        """A slot's part of slots.cfg and of servers.json: made again only when its servers have changed."""
        then, config, data = self._rendered.get(slot, (None, "", ""))
        if then != servers:
            ordered = sorted(servers)
            config = render_slot(slot, servers=ordered, run_dir=self._settings.run_dir)
            data = f"{json.dumps(slot)}: {json.dumps([list(server) for server in ordered])}" if servers else ""
            self._rendered[slot] = servers, config, data
        return config, data

    def write_token_keys(self, keys: Mapping[str, str]) -> None:
        """Keep the public keys (file name -> PEM), and that HAProxy loads them when it starts. Needed before maps."""
        if self._is_kept("token-keys.cfg", keys):
            return
        for name, pem in keys.items():
            self._write(f"token-keys/{name}.pem", pem)
        self._write("token-keys.cfg", self._render_token_keys(keys))
        for path in self._token_keys.glob("*.pem"):
            if path.stem not in keys:
                path.unlink()
                self._written.pop(f"token-keys/{path.name}", None)

    def _render_token_keys(self, names: Iterable[str]) -> str:
        return render_token_keys(names, run_dir=self._settings.run_dir)

    @property
    def _token_keys(self) -> Path:
        return self._path("token-keys")

    def read_seats(self) -> dict[int, str]:
        """Where the other routers sat last: seat number -> address."""
        path = self._path("seats.json")
        data = json.loads(path.read_text()) if path.exists() else {}
        return {int(number): str(address) for number, address in data.items()}

    def write_seats(self, seats: Mapping[int, str]) -> None:
        """Keep where the other routers sit, for HAProxy and for the next `prepare`."""
        if not self._settings.peer_port or self._is_kept("peers.cfg", seats):
            return
        self._write("seats.json", json.dumps(seats))
        self._write("peers.cfg", render_peers(self._settings, seats=seats))

    def write_maps(self, maps: Mapping[str, Mapping[str, str]]) -> None:
        """Keep the entries of every map."""
        for name in MAP_NAMES:
            if not self._is_kept(f"{name}.map", maps[name]):
                self._write(f"{name}.map", _as_map(maps[name]))

    def _is_kept(self, name: str, content: object) -> bool:
        if self._kept.get(name) == content:
            return True
        self._kept[name] = content
        return False

    def _path(self, name: str) -> Path:
        return self._settings.run_dir / name

    def _write(self, name: str, text: str) -> None:
        if self._written.get(name) == text:
            return
        target = self._path(name)
        partial = target.with_name(f".{target.name}.new")
        partial.write_text(text)
        partial.chmod(0o600)
        partial.replace(target)
        self._written[name] = text


def _as_map(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))
