"""A process that times work of a known size: `known_work.py UNITS SAMPLES`; needs nothing but the standard library.

Each unit is split over every core and waits for all of them, as a compiled program's operations do, so that what else
runs on the machine is felt. Prints JSON: seconds and core-seconds of every sample.
"""

import os
import sys
import threading
import time
import zlib

#: About 0.2 ms; zlib works outside the interpreter's lock.
_BLOCK = bytes(1 << 19)
_CORES = min(os.cpu_count() or 1, 4)


def work(units: int) -> None:
    """So many units, one after the other."""
    for _ in range(units):
        threads = [threading.Thread(target=zlib.crc32, args=(_BLOCK,)) for _ in range(_CORES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main(units: int, n_samples: int) -> None:
    samples: dict[str, list[float]] = {"wall_s": [], "core_s": []}
    work(1)
    for _ in range(n_samples):
        core, wall = time.process_time(), time.perf_counter()
        work(units)
        samples["wall_s"].append(time.perf_counter() - wall)
        samples["core_s"].append(time.process_time() - core)
    print(str(samples).replace("'", '"'))  # JSON, without the time that importing json takes


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
