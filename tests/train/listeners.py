"""Addresses at which processes listen, from the kernel's tables (Linux)."""

import socket
from collections.abc import Sequence
from pathlib import Path

_LISTEN = "0A"


def find_listeners(pids: Sequence[int]) -> set[tuple[int, str, int]]:
    """(position in `pids`, address, port) of every TCP socket that listens; IPv4 in IPv6 notation as IPv4."""
    owner = {inode: i for i, pid in enumerate(pids) for inode in _list_sockets(pid)}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == _LISTEN and cells[9] in owner:
                address, _, port = cells[1].partition(":")
                words = [bytes.fromhex(address[i:i + 8])[::-1] for i in range(0, len(address), 8)]
                name = socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:")
                found.add((owner[cells[9]], name, int(port, 16)))
    return found


def _list_sockets(pid: int) -> list[str]:
    """Inodes of a process's sockets; none once it has ended."""
    try:
        links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
    return [link[8:-1] for link in links if link.startswith("socket:[")]
