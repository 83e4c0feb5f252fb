"""What jax lacks or does wrongly in some version, one function each: the reason, and when it can be removed.

Used by hosts and roll_call (many processes), train (programs) and cli (doctor). jax is imported where it is used: its
settings must be made first. tests/test_jax_workarounds.py shows, where it can be shown, that each is still needed.
"""

import ctypes
import dataclasses
import re
import signal
from collections.abc import Callable
from typing import Any

from bonemet_jax.process_state import Undo

#: What jax raises where it finds no device. With JAX_PLATFORMS=cuda and no visible NVIDIA GPU, jax 0.10 to 0.12 assert,
#: without a word. Remove AssertionError when that raises RuntimeError too.
NO_DEVICE_ERRORS = (RuntimeError, AssertionError)

#: StableHLO that the oldest supported jax, 0.10.2, writes and reads.
OLDEST_STABLEHLO = (1, 17, 0)

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def get_kv_store_client() -> Any:
    """jax.distributed's key-value store, by which processes exchange text; after `jax.distributed.initialize`.

    jax 0.10 to 0.12 have no public name for it. Remove when there is one.
    """
    from jax._src.distributed import global_state

    return global_state.client


def bind_cpu_collectives(store_client: Any, address: str) -> Undo:
    """Let gloo, which joins the CPUs of many processes, listen at this address instead of the machine name's.

    jax 0.10 to 0.12 pass no address on. Remove when jax has an option for it.

    Returns: what restores jax's way to make the backend.
    """
    from jax._src import xla_bridge
    from jaxlib import _jax

    def make_client() -> Any:
        collectives = _jax.make_gloo_tcp_collectives(distributed_client=store_client, hostname=address)
        return xla_bridge.make_cpu_client(collectives)

    before = xla_bridge._backend_factories["cpu"]
    xla_bridge.register_backend_factory("cpu", make_client, priority=0, fail_quietly=False)
    return lambda: xla_bridge._backend_factories.update(cpu=before)


def call_on_abort(work: Callable[[], None]) -> Undo:
    """Call `work` when C code aborts this process, which XLA's client does once the coordinator is gone.

    jaxlib 0.10 to 0.12 take a callback for that (`missed_heartbeat_callback`), but calling it fails with bad_cast. Only
    a signal handler of C's runs then; Python's would wait for the main thread. Remove when the callback works.

    Returns: what restores the handler before. It holds the handler, which must live as long as it is set.
    """
    set_handler = ctypes.CDLL(None).signal
    set_handler.argtypes, set_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    handler = _Handler(lambda _signal: work())
    before = set_handler(int(signal.SIGABRT), ctypes.cast(handler, ctypes.c_void_p))

    def restore(_alive: Any = handler) -> None:
        set_handler(int(signal.SIGABRT), before)

    return restore


def trace(function: Any, *args: Any) -> Any:
    """A jitted function traced for these arguments; None for pmap's, which trace and lower in one.

    `pmap(...)` of jax 0.10 to 0.12 has no `trace`. Remove when it has, or with pmap.
    """
    return function.trace(*args) if hasattr(function, "trace") else None


def accepts_compiler_options(options: dict[str, str]) -> bool:
    """Whether this XLA knows compiler options that may come and go between versions (those of train.platform).

    Remove when the options are the default, or no longer experimental.
    """
    import jax

    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def serialize_for_oldest(exported: Any) -> Any:
    """An exported program (jax.export.Exported) in the StableHLO of the oldest supported jax, if it has a newer one.

    jax writes the StableHLO of four weeks before its release: what 0.12 writes, 0.10 cannot read. Remove when
    jax.export takes the version to write.
    """
    found = re.match(rb"ML\xefR\rStableHLO_v(\d+)\.(\d+)\.(\d+)", exported.mlir_module_serialized)
    if found is None or tuple(map(int, found.groups())) <= OLDEST_STABLEHLO:
        return exported
    from jax._src import xla_bridge
    from jax._src.interpreters import mlir
    from jaxlib import _jax

    with mlir.make_ir_context():
        module = _jax.mlir.deserialize_portable_artifact(exported.mlir_module_serialized)
        with_sdy = xla_bridge.get_backend().serialize_with_sdy
        text = _jax.mlir.serialize_portable_artifact(module, ".".join(map(str, OLDEST_STABLEHLO)), with_sdy)
    return dataclasses.replace(exported, mlir_module_serialized=text)
