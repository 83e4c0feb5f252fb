"""Several processes that work as one, mostly one a host: joining, what one does for all, arrays that lie on all.

Process 0 writes; the others read and compute. Everything here is a plain call where a process is alone.
"""

import atexit
import contextlib
import errno
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bonemet_jax.errors import INTERRUPTED, Terminated, TryAgainError, UsageError
from bonemet_jax.jax_workarounds import bind_cpu_collectives, get_kv_store_client
from bonemet_jax.roll_call import SILENCE_S, RollCall, read_silence_s, say_last

#: Seconds in which all processes must have found each other.
_JOIN_S = 120
#: jax's own heartbeat names nobody; it ends a process after about half its figure, which is three times ours (20 s).
_HEARTBEATS = 3
#: jax's own: where process 0 listens, in place of HOST.
BIND_VARIABLE = "JAX_COORDINATOR_BIND_ADDRESS"
_SPEC = re.compile(r"([\w.-]+|\[[\da-fA-F:]+\]):(\d+),(\d+),(\d+)")

_roll_call: RollCall | None = None


@contextlib.contextmanager
def joined(spec: str, timeout_s: float = _JOIN_S) -> Iterator[None]:
    """Be one of several processes meanwhile. Call before jax is used; a process can join once.

    In `process_control` this process ends when another one is lost, and when the block raises; elsewhere the error is
    reported, and jax itself may wait for the others when the process ends.

    Args:
        spec: off: alone. auto: as Slurm, Kubernetes on TPU and others tell. HOST:PORT,N,I: process I of N, process 0
            listening at HOST:PORT.
        timeout_s: Until when all must be there.

    Raises: UsageError for another spec; TryAgainError when the processes do not find each other.
    """
    if spec == "off":
        yield
        return
    with contextlib.ExitStack() as undo:
        _join(spec, timeout_s, undo)
        terminated = None
        try:
            try:
                yield
            except Terminated as error:  # all are, as `stops` agreed
                terminated = error
            meet()
        except BaseException as error:
            _fail(error)
            raise
        _part()
        if terminated is not None:
            raise terminated


def is_writer() -> bool:
    """Whether this process writes what the run leaves: alone, or process 0."""
    return _roll_call is None or _roll_call.index == 0


def once(work: Callable[[], Any]) -> Any:
    """Do `work` on process 0 alone, the others waiting for it; what it returns, JSON, on all.

    All must call in the same order. That process 0 failed is told by the roll call.
    """
    if _roll_call is None:
        return work()
    return _roll_call.once(work)


def stops(is_wanted: bool) -> bool:
    """Whether all stop here, as one of them wants to; all must ask in the same order."""
    return is_wanted if _roll_call is None else _roll_call.agreement.stops(is_wanted)


def meet() -> None:
    """Wait until all processes are here, the same number of times."""
    if _roll_call is not None:
        _roll_call.meet()


def note_step(n_begun: int, label: str) -> None:
    """Tell the others how far this process is: steps begun so far, and the last one's name."""
    if _roll_call is not None:
        _roll_call.note(n_begun, label)


def describe_laggards() -> str:
    """Which other processes are behind or silent, in words; empty where there is none or nobody else."""
    return "" if _roll_call is None else _roll_call.describe_laggards()


def leave(told: TryAgainError) -> None:
    """Tell this error and end the process at once, whatever its other threads wait for; the others hear why.

    For callers inside `process_control` alone.
    """
    if _roll_call is not None:
        return _roll_call.leave(told)
    say_last(told)
    os._exit(told.exit_code)


def put(tree: Any, sharding: Any) -> Any:
    """Arrays that every process holds whole, on the devices as `sharding` says."""
    import jax
    import numpy as np

    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(value: Any) -> jax.Array:
        array = np.asarray(value)
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    return jax.tree.map(place, tree)


def fetch(tree: Any) -> Any:
    """Arrays on the host, whole on every process; all processes must call where some lie on other hosts."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    leaves, form = jax.tree.flatten(tree)
    spread = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array) and not _is_here(leaf)]
    if spread:
        whole = NamedSharding(leaves[spread[0]].sharding.mesh, PartitionSpec())
        gathered = jax.jit(_copy, out_shardings=whole)([leaves[i] for i in spread])
        for i, leaf in zip(spread, gathered, strict=True):
            leaves[i] = leaf
    here = [leaf if getattr(leaf, "is_fully_addressable", True) else leaf.addressable_data(0) for leaf in leaves]
    return jax.tree.unflatten(form, jax.device_get(here))


def _is_here(leaf: Any) -> bool:
    return leaf.is_fully_addressable or leaf.is_fully_replicated


def _copy(leaves: list[Any]) -> list[Any]:
    return leaves


def _join(spec: str, timeout_s: float, undo: contextlib.ExitStack) -> None:
    """Join; `undo` restores the settings of jax that this changes."""
    global _roll_call
    address: dict[str, Any] = {} if spec == "auto" else _parse(spec)
    import jax

    where = address.get("coordinator_address", "auto")
    if address.get("process_id", 0) > 0:
        _await_coordinator(where, timeout_s)
    elif address:
        address["coordinator_bind_address"] = os.environ.get(BIND_VARIABLE) or find_bind_address(where)
    _configure(undo, "jax_cpu_collectives_implementation", "gloo")
    _configure(undo, "jax_enable_preemption_service", False)  # it would swallow SIGTERM
    try:
        jax.distributed.initialize(
            **address, initialization_timeout=int(timeout_s),
            heartbeat_timeout_seconds=int(_HEARTBEATS * max(read_silence_s(), SILENCE_S))
        )
    except ValueError as error:
        raise UsageError(f"--distributed {spec}: jax finds no cluster here ({error})", "",
                         "give --distributed HOST:PORT,N,I") from error
    except RuntimeError as error:
        raise TryAgainError(f"the processes did not find each other within {timeout_s:.0f} s "
                            f"({str(error).splitlines()[0]})", where, "start all of them, with the same address and N"
                            ) from error
    client = get_kv_store_client()
    own_address = find_own_address(where) if address else None
    if own_address is not None:
        undo.callback(bind_cpu_collectives(client, own_address))
    _roll_call = RollCall(client, jax.process_index(), jax.process_count())
    _roll_call.begin()


def _configure(undo: contextlib.ExitStack, name: str, value: object) -> None:
    import jax

    undo.callback(jax.config.update, name, jax.config.values[name])
    jax.config.update(name, value)


def _parse(spec: str) -> dict[str, Any]:
    found = _SPEC.fullmatch(spec)
    if found is None or not int(found[4]) < int(found[3]) or not 0 < int(found[2]) < 65536:
        raise UsageError(f"--distributed {spec}: not off, auto or HOST:PORT,N,I with I from 0 to N-1", "",
                         "for example --distributed 10.0.0.1:7070,2,0 on the first of two hosts, ,2,1 on the other")
    return {"coordinator_address": f"{found[1]}:{found[2]}", "num_processes": int(found[3]),
            "process_id": int(found[4])}


def _split(address: str) -> tuple[str, int]:
    """Host without brackets, and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def find_bind_address(address: str) -> str:
    """Where process 0 listens: at HOST alone, not at every address of the machine.

    Args:
        address: HOST:PORT.

    Raises: UsageError when HOST is not known or not of this machine, TryAgainError when the port is taken.
    """
    host, port = _split(address)
    hint = f"process 0 listens at HOST: give an address of its machine, or set {BIND_VARIABLE}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--distributed: HOST cannot be resolved ({error.strerror})", host, hint) from error
    failures: list[OSError] = []
    for family, kind, protocol, _, place in found:  # a name may have addresses that this machine does not use
        try:
            with socket.socket(family, kind, protocol) as test:
                test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                test.bind(place)
        except OSError as error:
            failures.append(error)
            continue
        own = f"[{place[0]}]" if family == socket.AF_INET6 else place[0]
        return f"{own}:{port}"
    taken = next((error for error in failures if error.errno == errno.EADDRINUSE), None)
    if taken is not None:
        raise TryAgainError("--distributed: the port is in use", address, "give another port") from taken
    raise UsageError(f"--distributed: HOST is not an address of this machine ({failures[0].strerror})", host,
                     hint) from failures[0]


def find_own_address(address: str) -> str | None:
    """This machine's address on the way to HOST:PORT; nothing is sent. None where that is not known."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(*_split(address), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(place)
            return probe.getsockname()[0]
    except OSError:
        return None


def _await_coordinator(address: str, timeout_s: float) -> None:
    """Return once process 0 listens: jax itself would end the process without a word. Raises: TryAgainError."""
    place = _split(address)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(place, timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TryAgainError(f"process 0 is not reachable within {timeout_s:.0f} s ({error})", address,
                                    "start it, and see that the address and port are open to this host") from error
            time.sleep(0.5)


def _part() -> None:
    """All are done: leave together."""
    global _roll_call
    if _roll_call is not None:
        import jax

        _roll_call.end()
        _roll_call = None
        jax.distributed.shutdown()


def _fail(error: BaseException) -> None:
    """This process raised: the others are told, and it ends without waiting for them where that is allowed."""
    global _roll_call
    if _roll_call is None:
        return
    _roll_call.fail(error)
    if _roll_call.may_end_process:
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
        # jax would wait for the others, which may be gone: this runs before what it registered.
        atexit.register(_exit, code)
    else:
        _roll_call.end()
        _roll_call = None


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
