"""What this machine offers a run, and what stands in its way: facts in plain JSON values, problems with remedies."""

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from bonemet_jax import artifacts
from bonemet_jax.cli.checked import Checked, Problem
from bonemet_jax.cli.gpu_diagnosis import GpuHost, check_gpu
from bonemet_jax.config import Config, EngineConfig
from bonemet_jax.errors import BonemetError, DeviceError, InputDataError
from bonemet_jax.host_memory import find_host_memory
from bonemet_jax.input_pipeline.choose import pick_mode
from bonemet_jax.jax_workarounds import NO_DEVICE_ERRORS
from bonemet_jax.missing_package import install_command, list_missing
from bonemet_jax.models.flops import compute_train_gflop_per_image, count_parameters
from bonemet_jax.telemetry.compile_cache import VARIABLE, choose_directory
from bonemet_jax.telemetry.device import PEAKS, cpu_model, describe_device
from bonemet_jax.telemetry.device_rates import measure_rates
from bonemet_jax.train.cost_estimate import estimate_images_per_s, estimate_memory
from bonemet_jax.train.dry_run import make_random_records
from bonemet_jax.train.members import count_side_by_side, make_waves
from bonemet_jax.train.parallel import Engine
from bonemet_jax.train.platform import choose_lowering, compiler_options, scans_epochs
from bonemet_jax.train.program import group_devices
from bonemet_jax.train.step import needed_arrays
from bonemet_jax.versions import find_versions

_PACKAGES = ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin",
             "libtpu", "flax", "orbax-checkpoint", "tensorflow-cpu", "tensorflow",
             "xgboost-cpu", "xgboost")
_ENVIRONMENT = ("XLA_FLAGS", "JAX_PLATFORMS", VARIABLE)
#: The health check multiplies matrices of ones of this size: powers of two, so that the sum is exact.
_SIDE = 256
#: Checkpoints kept of one fold: the two newest and the best.
_KEPT = 3


def diagnose(config: Config | None = None, gpu_host: GpuHost | None = None) -> Checked:
    """Every subject's facts by its name, and all problems; with a config also what would run where.

    Args:
        config: What would run.
        gpu_host: NVIDIA's GPUs, as they were before jax took its part of the memory.

    Raises: DeviceError when jax finds no device at all.
    """
    checked = {
        "devices": check_devices(),
        "gpu": check_gpu(gpu_host, jax.default_backend(), bool(os.environ.get("JAX_PLATFORMS"))),
        "software": Checked(find_versions(_PACKAGES) | {name: os.environ.get(name) for name in _ENVIRONMENT}, []),
        "packages": check_packages(),
        "compiler": check_compiler(EngineConfig() if config is None else config.engine),
        "cache": check_cache(),
        "memory": Checked(find_memory(), []),
        "disk": Checked({"free_gb": shutil.disk_usage(Path.cwd()).free / 1e9}, []),
        "xgboost": check_xgboost(),
        "health": check_health(),
    }
    if config is not None:
        checked["run"] = check_run(config, checked["memory"].facts, checked["disk"].facts["free_gb"])
    return Checked(
        {name: one.facts for name, one in checked.items()}, [p for one in checked.values() for p in one.problems]
    )


def check_devices() -> Checked:
    """Kind and number, processes, memory of one device, its peaks. Raises: DeviceError when there is none."""
    try:
        device = jax.local_devices()[0]
    except NO_DEVICE_ERRORS as error:
        why = (str(error) or f"JAX_PLATFORMS {os.environ.get('JAX_PLATFORMS')}").splitlines()[0]
        raise DeviceError(f"jax finds no device ({why})", "",
                          "unset JAX_PLATFORMS, or install the matching extra") from error
    stats, peak = device.memory_stats() or {}, PEAKS.get(device.device_kind)
    facts = {
        **describe_device(), "local_count": jax.local_device_count(), "processes": jax.process_count(),
        "memory_limit_gb": _gb(stats.get("bytes_limit")), "memory_in_use_gb": _gb(stats.get("bytes_in_use")),
        "cpu": cpu_model(), "cores": os.cpu_count(), "peak": None if peak is None else peak._asdict(),
    }  # fmt: skip
    return Checked(facts, [])


def check_compiler(engine: EngineConfig) -> Checked:
    """What is chosen for this platform."""
    platform = jax.default_backend()
    options = compiler_options(platform)
    facts = {"options": options, **asdict(choose_lowering(platform, engine)), "scans_epochs": scans_epochs(platform)}
    if platform == "cpu" and options is None:
        return Checked(facts, [Problem("this XLA lacks the fast CPU library, training takes about half as long again",
                                       "install the locked versions of jax and jaxlib")])
    return Checked(facts, [])


def check_cache() -> Checked:
    """Where the compilation cache lies, its size, and whether it can be written."""
    try:
        directory = choose_directory()
    except RuntimeError:
        return Checked({"directory": None}, [Problem("there is no home directory for the compilation cache",
                                                     f"set {VARIABLE} to a folder")])
    if directory is None:
        return Checked({"directory": None}, [Problem("the compilation cache is off", f"unset {VARIABLE}")])
    there = next(path for path in (directory, *directory.parents) if path.exists())
    writable = there.is_dir() and os.access(there, os.W_OK)
    facts = {"directory": str(directory), "size_gb": _size_bytes(directory) / 1e9, "writable": writable}
    problem = Problem("the compilation cache cannot be written", f"set {VARIABLE} to a folder that can")
    return Checked(facts, [] if writable else [problem])


def find_memory() -> dict[str, float | None]:
    """The host's memory and what this process's control group may take of it, GB; None: no limit."""
    memory = find_host_memory()
    return {"host_gb": memory.installed / 1e9, "limit_gb": _gb(memory.limit)}


def check_packages() -> Checked:
    """Which packages of a full installation are missing."""
    missing = list_missing()
    problem = Problem(f"packages that are not installed: {len(missing)}; commands that need them end with exit code 2",
                      f"`{install_command('bonemet-jax')}` installs all")  # fmt: skip
    facts = {"light": _is_light(missing), "missing": ", ".join(missing) or None}
    return Checked(facts, [problem] if missing else [])


def _is_light(missing: Collection[str]) -> bool:
    """Whether this is a light installation: without pandas no stage that reads a table runs."""
    return "pandas" in missing


def check_xgboost() -> Checked:
    """Which build classifies, and whether it has CUDA. None is no problem in a light installation."""
    installed = find_versions(("xgboost-cpu", "xgboost"))
    names = [name for name in ("xgboost-cpu", "xgboost") if name in installed]
    if not names and _is_light(list_missing()):
        return Checked({"package": None}, [])
    if not names:
        return Checked({"package": None}, [Problem("no XGBoost here, the stage fuse cannot run",
                                                   install_command("xgboost"), exit_code=1)])
    import xgboost

    facts = {"package": ", ".join(names), "cuda": bool(xgboost.build_info().get("USE_CUDA"))}
    both = Problem("xgboost and xgboost-cpu are both installed, into one folder",
                   install_command("xgboost", remove="xgboost xgboost-cpu"))
    return Checked(facts, [both] if len(names) > 1 else [])


def check_health() -> Checked:
    """Compile a product on every device of this process, add up over all of them, and check the sum."""
    devices, began = jax.local_devices(), time.perf_counter()
    want = len(devices) * _SIDE**3
    try:
        split = NamedSharding(group_devices(devices, 1), PartitionSpec("data"))
        ones = jax.device_put(np.ones((len(devices), _SIDE, _SIDE), np.float32), split)
        options = compiler_options(devices[0].platform)
        found = float(jax.jit(lambda x: jnp.sum(x @ x), compiler_options=options)(ones))
    except jax.errors.JaxRuntimeError as error:
        return Checked({"sound": False}, [Problem(f"the devices do not compute ({str(error).splitlines()[0]})",
                                                  "look at the driver, and for other work on them", 3)])
    facts = {"sound": found == want, "seconds": time.perf_counter() - began}
    wrong = Problem(f"the devices compute wrongly: {found} for {want}", "do not use this machine", 3)
    return Checked(facts, [] if found == want else [wrong])


def check_run(config: Config, memory: Mapping[str, float | None], free_gb: float) -> Checked:
    """What would run where; of the network nothing is compiled."""
    try:
        return _plan_run(config, memory, free_gb)
    except BonemetError as error:
        what = ", ".join(part for part in (error.what, error.where) if part)
        return Checked({"config": config.name}, [Problem(what, error.mend, error.exit_code)])


def _plan_run(config: Config, memory: Mapping[str, float | None], free_gb: float) -> Checked:
    n_side_by_side = count_side_by_side(config.folds.n_folds, jax.device_count(), config.engine.folds)
    engine = Engine(config, n_side_by_side)
    height, width = config.records.height, config.records.width
    n, mb_per_patient = count_patients(config), _bytes_per_patient(config) / 1e6
    device = jax.local_devices()[0]
    choice = pick_mode(config.input, n, _bytes_per_patient(config), device)
    cohort_gb = n * mb_per_patient / 1e3
    batch_room_gb = _find_room_gb(device, memory) - (cohort_gb if choice.mode == "resident" else 0)
    state_gb = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(engine.state_template())) / 1e9
    n_kept = _KEPT + (config.train.epochs // config.train.keep_epochs if config.train.keep_epochs else 0)
    gflop = compute_train_gflop_per_image(config.model, height, width)
    per_device = config.train.batch_size // engine.n_data
    facts = {
        "config": config.name, "fingerprint": config.fingerprint, "parallel": config.engine.parallel,
        "folds": config.engine.folds, "waves": make_waves(range(config.folds.n_folds), n_side_by_side),
        "mesh": dict(engine.spread.mesh.shape),
        "idle_devices": jax.device_count() - engine.spread.mesh.size, "batch_size": config.train.batch_size,
        "per_device_batch_size": per_device, "image": [height, width, len(config.model.channels)],
        "parameters": count_parameters(config.model), "train_gflop_per_image": gflop,
        **_estimate_costs(config, engine, device, batch_room_gb, n), "patients": n, "mb_per_patient": mb_per_patient,
        "cohort_gb": cohort_gb, "input": choice.mode,
        "why": choice.reason, "checkpoint_gb": state_gb, "checkpoints_gb": state_gb * n_kept * config.folds.n_folds,
    }  # fmt: skip
    problems = [*_find_batch_problems(facts), *_find_memory_problems(facts, memory, device),
                *_find_disk_problems(facts, free_gb)]  # fmt: skip
    return Checked(facts, problems)


def _find_batch_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    """Twice the estimate must fit, for it is one."""
    largest = facts["largest_batch"]
    if facts["batch_size"] > 2 * largest:
        remedy = f"use --train.batch-size {largest}" if largest else "use smaller images, or a device with more memory"
        need = f"{facts['batch_memory_gb']:.3g} GB"
        yield Problem(f"a batch of {facts['batch_size']} needs about {need} of a device, which holds about {largest}",
                      remedy, 3)


def _estimate_costs(
    config: Config, engine: Engine, device: jax.Device, room_gb: float, n_patients: int
) -> dict[str, float | int]:
    """Memory of the config's batch, the largest that fits, hours of all trainings at least: estimates from shapes, and
    from the rates of a convolution and a copy on this device.

    Args:
        room_gb: Memory of one device for the state and a batch.
    """
    need = estimate_memory(config)
    n_together = engine.n_members if config.engine.folds == "vmap" else 1
    rates = measure_rates(config.model.compute_dtype, compiler_options(device.platform))
    images_per_s = estimate_images_per_s(config, need, rates) * engine.spread.mesh.size
    k = config.folds.n_folds
    n_times = k * (1 - 1 / k)  # that an image is seen in an epoch of all trainings
    if config.fusion.mode == "honest":
        n_times += k * (k - 1) / 2 * (1 - 2 / k)
    n_images = n_patients * n_times * config.train.epochs
    largest_batch = need.find_largest_batch(room_gb * 1e9 / n_together) * engine.n_data
    return {"batch_memory_gb": n_together * need.count(config.train.batch_size // engine.n_data) / 1e9,
            "largest_batch": largest_batch, "images_per_s_at_most": images_per_s,
            "hours_at_least": n_images / images_per_s / 3600}


def _find_room_gb(device: jax.Device, memory: Mapping[str, float | None]) -> float:
    """Memory for one device; those without memory of their own share the host's."""
    own = _gb((device.memory_stats() or {}).get("bytes_limit"))
    return (memory["limit_gb"] or memory["host_gb"] or 0) / jax.local_device_count() if own is None else own


def count_patients(config: Config) -> int:
    """Patients of the config's cohort, as its manifest says; of one without that number, rows of its table.

    Raises: InputDataError when it is not there; CorruptFileError.
    """
    if config.cohort_dir is None:
        return config.phantom.n
    table = Path(config.cohort_dir) / "cohort.parquet"
    if not table.is_file():
        raise InputDataError("no cohort.parquet in this folder", config.cohort_dir, "run `bonemet ingest` first")
    manifest = table.with_name(artifacts.MANIFEST)
    facts = artifacts.load_json(manifest, artifacts.Manifest)["facts"] if manifest.is_file() else {}
    n = facts.get("n")
    return n if isinstance(n, int) else len(artifacts.load_table(table))


def _bytes_per_patient(config: Config) -> int:
    """Of the stored arrays that the network needs."""
    one = make_random_records(1, config.records.height, config.records.width)
    return one.bytes_per_patient(needed_arrays(config))


def _find_memory_problems(
    run: Mapping[str, Any], memory: Mapping[str, float | None], device: jax.Device
) -> list[Problem]:
    """A resident cohort must lie on each device whole; devices without memory of their own share the host's."""
    room_gb = _find_room_gb(device, memory)
    if run["input"] == "stream" or run["cohort_gb"] < room_gb:
        return []
    return [Problem(f"a resident cohort of {run['cohort_gb']:.1f} GB does not fit into {room_gb:.1f} GB of a device",
                    "use --input.mode auto", 3)]


def _find_disk_problems(run: Mapping[str, Any], free_gb: float) -> list[Problem]:
    need_gb = run["cohort_gb"] + run["checkpoints_gb"]
    if need_gb <= free_gb:
        return []
    return [Problem(f"records and checkpoints may take {need_gb:.1f} GB, here {free_gb:.1f} GB are free",
                    "free some, or run on another disk")]


def _size_bytes(directory: Path) -> int:
    """Of all files; those that another process deletes meanwhile count nothing."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _gb(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / 1e9
