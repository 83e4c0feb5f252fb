"""Ports for processes that tests start: no other program, another test run included, is given one meanwhile."""

import socket

_RESERVED: list[socket.socket] = []


def reserve_port(host: str = "127.0.0.1") -> int:
    """A free port of this address. It stays bound until the tests end, which keeps the system from giving it to others
    and lets a server that allows reuse, as grpc's does, listen there."""
    kept = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        kept.setsockopt(socket.SOL_SOCKET, option, 1)
    kept.bind((host.strip("[]"), 0))
    _RESERVED.append(kept)
    return kept.getsockname()[1]
