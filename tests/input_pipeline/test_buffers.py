"""Memory of batches: aligned, used again when free, never while somebody holds it."""

import threading

import jax
import numpy as np
import pytest

from bonemet_jax.input_pipeline.buffers import BufferPool, aligned_empty


@pytest.mark.parametrize("make", [aligned_empty, BufferPool().empty])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7, 5, 3)])
def test_aligned(make: "type", shape: tuple[int, ...]) -> None:
    array = make(shape, np.float32)
    assert array.shape == shape and array.dtype == np.float32 and array.flags.writeable
    assert array.size == 0 or array.ctypes.data % 64 == 0


def test_memory_is_lent_again_when_no_view_is_left() -> None:
    pool = BufferPool()
    first = pool.empty((4, 8), np.uint8)
    place, row = first.ctypes.data, first[1:].reshape(-1).view(np.int8)[3:]
    del first
    assert pool.empty((32,), np.uint8).ctypes.data != place  # a view is left
    del row
    again = pool.empty((8,), np.float32)  # as many bytes
    assert again.ctypes.data == place
    assert pool.empty((9,), np.float32).ctypes.data != place


def test_memory_a_device_took_stays_its_own() -> None:
    """Arrays on a CPU device may be this very memory; they keep their values while others come and go."""
    pool, random = BufferPool(), np.random.default_rng(0)
    kept: list[tuple[int, jax.Array]] = []
    places = set()
    for i in range(60):
        host = pool.empty((64, 1000), np.uint8)
        places.add(host.ctypes.data)
        host[:] = i
        device = jax.block_until_ready(jax.device_put(host))
        if random.random() < 0.3:
            kept.append((i, device))
        del host, device
    assert all((np.asarray(array) == i).all() for i, array in kept)
    # jax lets go of a host array a call later; without a pool there could be 60 places, with one that lends too early 1
    assert len(kept) <= len(places) < 60


def test_threads_share_a_pool() -> None:
    pool, faults = BufferPool(), []

    def work(mark: int) -> None:
        for _ in range(300):
            one, two = pool.empty((100,), np.uint8), pool.empty((100,), np.uint8)
            one[:], two[:] = mark, mark + 100
            if (one != mark).any() or (two != mark + 100).any():
                faults.append(mark)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
