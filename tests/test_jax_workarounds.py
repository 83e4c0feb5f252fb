"""The workarounds for jax: each works, and is still needed; one that no longer is fails here and can be removed."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from bonemet_jax import jax_workarounds
from bonemet_jax.jax_workarounds import OLDEST_STABLEHLO, serialize_for_oldest


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run([sys.executable, "-c", script], env=os.environ | environment, text=True, capture_output=True,
                          timeout=120, check=False)  # fmt: skip


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="an NVIDIA GPU is visible")
def test_no_visible_gpu_is_an_assertion_without_words() -> None:
    script = """
from bonemet_jax.jax_workarounds import NO_DEVICE_ERRORS
import jax
try:
    jax.devices()
except NO_DEVICE_ERRORS as error:
    print(type(error).__name__, repr(str(error)))
"""
    assert run(script, JAX_PLATFORMS="cuda").stdout.strip() == "AssertionError ''"


def test_pmap_has_no_trace() -> None:
    assert jax_workarounds.trace(jax.pmap(lambda x: x + 1), jax.numpy.ones((1, 2))) is None
    assert jax_workarounds.trace(jax.jit(lambda x: x + 1), 1.0).lower().compile()(1.0) == 2


def test_unknown_compiler_options_are_told() -> None:
    assert jax_workarounds.accepts_compiler_options({"xla_backend_optimization_level": "0"})
    assert not jax_workarounds.accepts_compiler_options({"xla_no_such_option": "1"})


def test_work_is_called_on_abort_until_it_is_undone() -> None:
    script = """
import ctypes, os
from bonemet_jax.jax_workarounds import call_on_abort
undo = call_on_abort(lambda: os._exit(75))
if os.environ["UNDO"] == "1":
    undo()
ctypes.CDLL(None).abort()
"""
    assert run(script, UNDO="0").returncode == 75
    assert run(script, UNDO="1").returncode == -signal.SIGABRT


@pytest.mark.skipif(sys.platform != "linux", reason="CPU processes are joined on Linux alone")
def test_jaxlibs_own_callback_for_a_lost_coordinator_fails() -> None:
    script = """
import os, time
from jaxlib import _jax
address = f"127.0.0.1:{os.environ['PORT']}"
service = _jax.get_distributed_runtime_service(address, 1, heartbeat_timeout=1, shutdown_timeout=1)
client = _jax.get_distributed_runtime_client(address, 0, init_timeout=10, heartbeat_timeout=1, shutdown_timeout=1,
                                             missed_heartbeat_callback=lambda *_: os._exit(75))
client.connect()
del service
time.sleep(30)
"""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ended = run(script, PORT=str(port))
    assert ended.returncode == -signal.SIGABRT and "bad_cast" in ended.stderr


def test_exported_programs_are_written_for_the_oldest_jax() -> None:
    """In this jax's own StableHLO another program of four weeks before would read them; then the oldest does too."""
    import jax.numpy as jnp
    from jax import export

    program = export.export(jax.jit(lambda x: jnp.sin(x) @ x.T))(jax.ShapeDtypeStruct((2, 3), jnp.float32))
    written = serialize_for_oldest(program)
    version = re.match(rb"ML\xefR\rStableHLO_v([\d.]+)", written.mlir_module_serialized)
    assert version is not None and tuple(map(int, version[1].split(b"."))) <= OLDEST_STABLEHLO
    again = export.deserialize(written.serialize())
    x = jnp.arange(6.0).reshape(2, 3)
    assert jnp.array_equal(again.call(x), jnp.sin(x) @ x.T)
