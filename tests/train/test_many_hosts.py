"""Two processes train what one trains; when one is lost, the other names it and leaves."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from bonemet_jax import artifacts, hosts
from bonemet_jax.errors import TryAgainError, UsageError
from tests.train.listeners import find_listeners
from tests.train.ports import reserve_port

ROOT = Path(__file__).parents[2]
FAST = "resident/jit/sequential,stream/shard_map/mesh"
ALL = ",".join(f"{mode}/{parallel}/{folds}" for mode in ("resident", "stream") for parallel in ("jit", "shard_map")
               for folds in ("sequential", "mesh"))
DEATHS = [("KILL", 1), ("KILL", 0), ("raise", 1), ("STOP", 1)]
#: One compilation for all of these tests.
CACHE = tempfile.TemporaryDirectory()
Started = list[subprocess.Popen[str]]


def start(n: int, n_devices: int, directory: Path, ways: str, *epochs: str, dying: tuple[int, str, int] | None = None,
          **environment: str) -> Started:  # fmt: skip
    """n processes with so many virtual devices each; of them one may die so, at that step."""
    port, started = reserve_port(), []
    for i in range(n):
        spec = f"127.0.0.1:{port},{n},{i}" if n > 1 else "off"
        how = [dying[1], str(dying[2])] if dying and dying[0] == i else []
        started.append(subprocess.Popen(
            [sys.executable, "-m", "tests.train.many_processes", spec, str(directory), ways, *epochs, *how],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "BONEMET_CACHE_DIR": str(CACHE.name), **environment,
                              "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}"},
        ))  # fmt: skip
    return started


def finish(started: Started) -> None:
    """All end well."""
    for process in started:
        said, _ = process.communicate(timeout=400)
        assert process.returncode == 0, said[-3000:]


def check_equal(tmp_path: Path, n_devices: int, ways: str) -> None:
    finish(start(1, 2 * n_devices, tmp_path / "one", ways))
    finish(start(2, n_devices, tmp_path / "two", ways))
    for way in ways.replace("/", "_").split(","):
        one, two = (artifacts.load_npz(tmp_path / name / way / "arrays.npz") for name in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            assert np.allclose(one[name], two[name], rtol=1e-9, atol=1e-12), (way, name)


@pytest.mark.slow
def test_two_processes_of_one_device_train_what_one_of_two_trains(tmp_path: Path) -> None:
    check_equal(tmp_path, 1, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("n_devices", [1, 2])
def test_every_way_is_the_same_on_two_processes(tmp_path: Path, n_devices: int) -> None:
    check_equal(tmp_path, n_devices, ALL)


def check_left(tmp_path: Path, how: str, who: int, n_begun: int, **environment: str) -> None:
    """One dies; the other leaves within 45 s, names it and the step."""
    started = start(2, 1, tmp_path / "run", "resident/jit/sequential", "200", dying=(who, how, n_begun), **environment)
    left, died = started[1 - who], started[who]
    died_at = None
    try:
        assert died.stdout is not None
        for line in died.stdout:
            if line.startswith(f"{how} at "):
                died_at = time.monotonic()
                break
        assert died_at is not None, "it never came to that step"
        said, _ = left.communicate(timeout=100)
        seconds = time.monotonic() - died_at
    finally:
        for process in started:
            process.kill()
            process.communicate()
    told = [line for line in said.splitlines() if line.startswith("bonemet: ")]
    assert left.returncode == 75, said[-3000:]
    assert seconds < 45
    assert len(told) == 1
    assert re.search(rf"process {who} of 2\b.*fold 0, epoch \d+, \w+ step \d+", told[0]), told


@pytest.mark.slow
@pytest.mark.parametrize(("how", "who"), DEATHS)
def test_a_lost_process_is_named_and_the_other_leaves(tmp_path: Path, how: str, who: int) -> None:
    check_left(tmp_path, how, who, 12, BONEMET_WATCHDOG_S="8")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "who"), [*DEATHS[:3], ("STOP", 1)])
@pytest.mark.parametrize("n_begun", [5, 21, 34, 47, 62])
def test_a_lost_process_is_named_with_the_deadline_as_it_is(tmp_path: Path, how: str, who: int, n_begun: int) -> None:
    check_left(tmp_path, how, who, n_begun)


def check_asked_to_end(tmp_path: Path, way: str, n_begun: int) -> None:
    """SIGTERM to process 1 alone: both save the same place and leave with 143."""
    started = start(2, 1, tmp_path / "run", way, "4", dying=(1, "TERM", n_begun))
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [143, 143], said[0][-3000:] + said[1][-3000:]
    found = [re.search(r"terminated.*(state after .* saved)", text) for text in said]
    places = {place and place[1] for place in found}
    assert len(places) == 1, places
    print(f"2/2 processes left with 143 as one was asked to end: {places.pop()}")


@pytest.mark.slow
def test_one_asked_to_end_ends_all_behind_the_same_step(tmp_path: Path) -> None:
    check_asked_to_end(tmp_path, "resident/jit/sequential", 7)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "n_begun"), [("resident/jit/sequential", 4), ("stream/shard_map/mesh", 9)])
def test_asked_to_end_they_go_on_to_the_same_weights(tmp_path: Path, way: str, n_begun: int) -> None:
    check_asked_to_end(tmp_path, way, n_begun)
    check_goes_on(tmp_path, way)


@pytest.mark.slow
def test_after_a_loss_the_same_command_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    way = "resident/jit/sequential"
    started = start(2, 1, tmp_path / "run", way, "4", dying=(1, "KILL", 12))
    for process in started:
        process.communicate(timeout=200)
        assert process.returncode != 0
    check_goes_on(tmp_path, way)


def check_goes_on(tmp_path: Path, way: str) -> None:
    """The same command ends with the weights of one never broken off."""
    finish(start(2, 1, tmp_path / "run", way, "4"))
    finish(start(2, 1, tmp_path / "whole", way, "4"))
    left = way.replace("/", "_")
    run, whole = (artifacts.load_npz(tmp_path / name / left / "arrays.npz") for name in ("run", "whole"))
    assert all(np.array_equal(run[name], whole[name]) for name in whole)


@pytest.mark.parametrize("spec", ["on", "host", "host:1", "host:7070,2", "host:7070,2,2", "host:0,2,0"])
def test_a_bad_flag_is_told(spec: str) -> None:
    with pytest.raises(UsageError, match="not off, auto or HOST:PORT,N,I"), hosts.joined(spec):
        pass


def test_a_coordinator_out_of_reach_is_told() -> None:
    spec = f"127.0.0.1:{reserve_port()},2,1"
    with pytest.raises(TryAgainError, match="process 0 is not reachable"), hosts.joined(spec, 0.1):
        pass


def test_an_address_that_this_machine_cannot_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where localhost has an IPv6 address and IPv6 is off."""
    kind = socket.SOCK_STREAM
    port = reserve_port()
    places = [(socket.AF_INET, kind, 0, "", (host, port)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: places)
    assert hosts.find_bind_address(f"somewhere:{port}") == f"127.0.0.1:{port}"


def test_process_0_listens_at_an_address_of_its_machine_alone() -> None:
    address = f"127.0.0.1:{reserve_port()}"
    assert hosts.find_bind_address(address) == address
    for host, words in (("203.0.113.7", "not an address of this machine"), ("no-such-host.invalid", "be resolved")):
        with pytest.raises(UsageError, match=words), hosts.joined(f"{host}:7070,2,0"):
            pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TryAgainError, match="the port is in use"):
            hosts.find_bind_address(f"127.0.0.1:{taken.getsockname()[1]}")


def test_gloo_listens_on_the_way_to_process_0() -> None:
    assert hosts.find_own_address("127.0.0.1:7070") == "127.0.0.1"
    assert hosts.find_own_address("no-such-host.invalid:7070") is None


PROGRAM = """
import sys, jax, jax.numpy as jnp
from jax.experimental import multihost_utils
from bonemet_jax import hosts
with hosts.joined(sys.argv[1], 60):
    print(multihost_utils.process_allgather(jnp.ones(2)).sum(), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_two_processes_listen_at_the_address_given(host: str) -> None:
    """Process 0, which the others join, and gloo on both."""
    port = reserve_port(host)
    started = [subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"{host}:{port},2,{i}"], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    ) for i in range(2)]  # fmt: skip
    try:
        for process in started:
            assert process.stdout is not None and any(line == "4.0\n" for line in iter(process.stdout.readline, ""))
        found = find_listeners([process.pid for process in started])
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(timeout=250) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    addresses = {address for _, address, _ in found}
    print(f"{host}: {len(found)} listeners, at {', '.join(sorted(addresses))}")
    assert (0, port) in {(i, at) for i, _, at in found} and {i for i, _, _ in found} == {0, 1}
    assert addresses <= {"127.0.0.1", "::1"}


def test_alone_everything_is_a_plain_call() -> None:
    with hosts.joined("off"):
        hosts.meet()
        hosts.note_step(1, "a step")
        assert hosts.is_writer()
        assert hosts.once(lambda: (1, 2)) == (1, 2)
        assert hosts.describe_laggards() == ""
