"""`bonemet doctor`: facts that agree with jax and the config, problems with remedies, exit codes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

from bonemet_jax import host_memory, missing_package
from bonemet_jax.cli import diagnosis, doctor, gpu_diagnosis, main
from bonemet_jax.cli.checked import Checked
from bonemet_jax.cli.doctor import describe_facts
from bonemet_jax.cli.gpu_diagnosis import GpuHost, check_gpu, find_gpu_host
from bonemet_jax.config import Config, InputConfig, ModelConfig, RecordsConfig, load_config
from bonemet_jax.models.flops import count_parameters

SMALL = """
from bonemet_jax.config import Config, ModelConfig, PhantomConfig, RecordsConfig, TrainConfig
config = Config("small", phantom=PhantomConfig(n=24), records=RecordsConfig(height=64, width=80),
                model=ModelConfig(network="tiny"), train=TrainConfig(batch_size=8))
"""
DEVICES = 8


@pytest.fixture(autouse=True)
def _pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment with pip, whichever this one has."""
    is_found = missing_package._is_found
    monkeypatch.setattr(missing_package, "_is_found", lambda root: root == "pip" or is_found(root))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A config file."""
    (tmp_path / "small.py").write_text(SMALL)
    return tmp_path / "small.py"


def _ask(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", *argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def _ask_process(argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose jax is not started yet."""
    return subprocess.run(
        [sys.executable, "-c", "from bonemet_jax.cli import run_from_shell; run_from_shell()", "doctor", *argv],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _ask([], capsys)
    assert code == told["exit_code"] == 0
    assert told["devices"]["count"] == jax.device_count() and told["devices"]["kind"] == jax.devices()[0].device_kind
    assert told["devices"]["peak"] is None
    assert told["software"]["jax"] == jax.__version__
    assert told["health"]["sound"] is True and 0 < told["health"]["seconds"] < 60
    assert told["memory"]["host_gb"] > 0.5 and told["disk"]["free_gb"] > 0
    assert told["xgboost"]["package"] in ("xgboost-cpu", "xgboost") and isinstance(told["xgboost"]["cuda"], bool)
    assert [problem["what"] for problem in told["problems"]] == ["the compilation cache is off"]
    assert "run" not in told


def test_lines_are_aligned_and_end_in_a_verdict(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "problem: the compilation cache is off; unset BONEMET_CACHE_DIR"
    assert lines[-1] == "verdict: runs are possible"
    width = lines[0].index("kind")
    rows = {line[width:].split()[0]: line[width:].split()[-1] for line in lines[:-2]}
    assert (rows["batch_size"], rows["patients"], rows["input"], rows["sound"]) == ("8", "24", "resident", "yes")


def test_values_in_words() -> None:
    facts = {"a": {"none": None, "no": False, "x": 1 / 3}, "long": {"waves": [[0, 1], [2, 3]], "mesh": {"fold": 2}}}
    assert list(describe_facts(facts)) == [
        "a     none   -", "      no     no", "      x      0.3333", "long  waves  0 1 | 2 3", "      mesh   fold 2",
    ]  # fmt: skip


def test_flags_change_the_config(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _ask([str(small), "--folds.n-folds", "4", "--engine.folds", "vmap", "--input.mode", "stream"], capsys)
    run, config = told["run"], load_config(small)
    assert code == 0 and run["waves"] == [[0, 1, 2, 3]] and run["mesh"] == {"fold": 1, "data": 1}
    assert run["input"] == "stream" and run["per_device_batch_size"] == 8
    assert run["parameters"] == count_parameters(config.model)
    assert run["checkpoint_gb"] > 12e-9 * run["parameters"]  # weights and Adam's two moments, float32
    # CT, LBP's three planes, the mask; HOG of four flips in cells of 16 x 16 pixels, 8 orientations, float32
    assert run["mb_per_patient"] == pytest.approx((64 * 80 * 5 + 4 * 4 * 5 * 8 * 4) / 1e6)


@pytest.mark.slow
def test_eight_devices_on_a_mesh(small: Path) -> None:
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    done = _ask_process([str(small), "--engine.folds", "mesh", "--json"], XLA_FLAGS=flags)
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["devices"]["count"] == told["devices"]["local_count"] == DEVICES
    assert told["software"]["XLA_FLAGS"] == flags and told["health"]["sound"]
    run = told["run"]
    assert run["waves"] == [[0, 1, 2]] and run["mesh"] == {"fold": 3, "data": 2} and run["idle_devices"] == 2
    assert run["per_device_batch_size"] == 4
    done = _ask_process([str(small), "--train.batch-size", "9"], XLA_FLAGS=flags)
    assert done.returncode == 2 and done.stdout.splitlines()[-1] == "verdict: runs are not possible"
    assert "train.batch_size 9 does not divide over 8 devices; use a multiple of 8" in done.stdout


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_no_device_at_all_is_exit_3(platform: str) -> None:
    if any(device.platform != "cpu" for device in jax.devices()):
        pytest.skip("there is an accelerator here")
    done = _ask_process([], JAX_PLATFORMS=platform)
    assert done.returncode == 3 and not done.stdout
    assert done.stderr.startswith("bonemet: jax finds no device") and len(done.stderr.splitlines()) == 1


def test_an_absent_device_is_exit_3() -> None:
    done = _ask_process(["--device", "tpu"])
    assert done.returncode == 3 and "no tpu here" in done.stderr


def test_a_cohort_that_is_not_there_stops_runs() -> None:
    config = Config("odd", model=ModelConfig(network="tiny"), cohort_dir="nowhere")
    checked = diagnosis.check_run(config, {"host_gb": 1.0, "limit_gb": None}, 1e6)
    assert checked.facts == {"config": "odd"}
    assert [(p.what, p.exit_code) for p in checked.problems] == [("no cohort.parquet in this folder, nowhere", 8)]


def test_patients_of_a_cohort_are_counted(small_cohort: Path) -> None:
    assert diagnosis.count_patients(Config("real", cohort_dir=str(small_cohort))) == 13


def test_a_cohort_or_a_disk_too_small() -> None:
    config = Config("big", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80),
                    input=InputConfig(mode="resident"))  # fmt: skip
    memory = {"host_gb": 8.0, "limit_gb": 0.001}
    facts, problems = diagnosis.check_run(config, memory, 0.0)
    assert facts["input"] == "resident" and [problem.exit_code for problem in problems] == [3, 3, 0]
    assert problems[0].mend == "use smaller images, or a device with more memory"
    assert problems[1].mend == "use --input.mode auto" and "0.0 GB are free" in problems[2].what
    assert diagnosis.check_run(config, {"host_gb": 8.0, "limit_gb": None}, 1e6).problems == []


def test_control_groups_of_both_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new, old = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(host_memory, "_CGROUP_LIMITS", (new, old))
    assert diagnosis.find_memory()["limit_gb"] is None
    new.write_text("max\n")
    old.write_text(f"{1 << 62}\n")
    assert diagnosis.find_memory()["limit_gb"] is None
    old.write_text("250000000\n")
    assert diagnosis.find_memory()["limit_gb"] == 0.25


def test_cache_sizes_and_rights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BONEMET_CACHE_DIR", str(tmp_path / "a" / "b"))
    assert diagnosis.check_cache() == ({"directory": str(tmp_path / "a" / "b"), "size_gb": 0.0, "writable": True}, [])
    assert not (tmp_path / "a").exists()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "program").write_bytes(bytes(1000))
    assert diagnosis.check_cache().facts["size_gb"] >= 1e-6
    monkeypatch.setenv("BONEMET_CACHE_DIR", str(tmp_path / "a" / "b" / "program" / "c"))
    facts, problems = diagnosis.check_cache()
    assert facts["writable"] is False and problems[0].mend == "set BONEMET_CACHE_DIR to a folder that can"


def test_devices_that_compute_wrongly_stop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.jnp, "sum", lambda x: x[0, 0, 0])
    facts, problems = diagnosis.check_health()
    assert facts["sound"] is False and problems[0].exit_code == 3 and "compute wrongly" in problems[0].what


def test_no_xgboost_stops_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "find_versions", lambda names: {"python": "3"})
    facts, problems = diagnosis.check_xgboost()
    assert facts == {"package": None} and problems[0].exit_code == 1


def test_a_light_installation_can_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(diagnosis, "list_missing", lambda: ["pandas", "xgboost"])
    facts, problems = diagnosis.check_packages()
    assert facts == {"light": True, "missing": "pandas, xgboost"}
    assert problems[0].what.startswith("packages that are not installed: 2;") and problems[0].exit_code == 0
    monkeypatch.setattr(diagnosis, "find_versions", lambda names: {"python": "3"})
    assert diagnosis.check_xgboost().problems == []
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "verdict: training is possible"


_CUDA12, _CUDA13 = ({f"jax-cuda{major}-plugin": "0.12.0"} for major in (12, 13))
#: As requirements/cpu.lock installs it on Python 3.12 and newer.
_XGBOOST13 = {"xgboost": "3.4.1", "nvidia-nccl-cu13": "2.30.4"}


@pytest.mark.parametrize(("driver", "packages", "python", "what", "mend"), [
    ("580.65", {}, (3, 13), "no jax CUDA plugin", 'pip install "jax[cuda13]==0.12.0.1"'),
    ("580.65", {}, (3, 11), "no jax CUDA plugin", 'pip install "jax[cuda12]==0.12.0.1"'),
    ("550.54.14", {}, (3, 13), "no jax CUDA plugin", 'pip install "jax[cuda12]==0.12.0.1"'),
    ("550.54.14", _XGBOOST13, (3, 13), "no jax CUDA plugin",
     'pip uninstall -y nvidia-nccl-cu13; pip install "jax[cuda12]==0.12.0.1" "xgboost<3.4"'),
    ("580.65", _XGBOOST13, (3, 13), "no jax CUDA plugin", 'pip install "jax[cuda13]==0.12.0.1" "xgboost>=3.4"'),
    ("470.57", {}, (3, 13), "the driver 470.57 is too old for jax, whose CUDA 12 needs 525", "update the driver"),
    ("470.57", _CUDA12, (3, 13), "the driver 470.57 is too old for jax, whose CUDA 12 needs 525", "update the driver"),
    ("580.65", _CUDA13, (3, 11), "CUDA 13 needs Python 3.12",
     'pip uninstall -y jax-cuda13-plugin; pip install "jax[cuda12]==0.12.0.1"'),
    ("550.54.14", _CUDA13, (3, 13), "the driver 550.54.14 is too old for CUDA 13, which needs 580",
     'pip uninstall -y jax-cuda13-plugin; pip install "jax[cuda12]==0.12.0.1"'),
    ("550.54.14", _CUDA13 | {"jax-cuda13-pjrt": "0.12.0"} | _XGBOOST13, (3, 13), "too old for CUDA 13, which needs 580",
     'pip uninstall -y jax-cuda13-plugin jax-cuda13-pjrt nvidia-nccl-cu13; '
     'pip install "jax[cuda12]==0.12.0.1" "xgboost<3.4"'),
    ("580.65", {"jax-cuda12-plugin": "0.10.2"}, (3, 12), "jax-cuda12-plugin 0.10.2 does not match jaxlib 0.12.0",
     'pip install "jax[cuda12]==0.12.0.1"'),
    ("580.65", _CUDA13, (3, 13), "but jax runs on the CPU", "jax.devices('cuda')"),
    ("580.65", _CUDA12 | _CUDA13, (3, 13), "CUDA 12 and CUDA 13 are both",
     'pip uninstall -y jax-cuda12-plugin; pip install "jax[cuda13]'),
    ("550.54.14", _CUDA12 | _CUDA13, (3, 13), "CUDA 12 and CUDA 13 are both",
     'pip uninstall -y jax-cuda13-plugin; pip install "jax[cuda12]'),
    ("580.65", _CUDA13 | {"tensorflow": "2.21"}, (3, 13), "this TensorFlow takes the GPU's memory",
     "pip install tensorflow-cpu"),
])  # fmt: skip
def test_a_gpu_that_is_not_used_is_told_with_the_command_that_repairs_it(
    driver: str, packages: dict[str, str], python: tuple[int, int], what: str, mend: str
) -> None:
    host = GpuHost(driver, 0.5, 80.0, {"jax": "0.12.0.1", "jaxlib": "0.12.0"} | packages, python)
    problems = check_gpu(host, "cpu", is_chosen=False).problems
    assert any(what in problem.what and mend in problem.mend for problem in problems), problems
    assert len(problems) == 1 + ("tensorflow" in packages)
    assert all("CPU" not in problem.what for problem in check_gpu(host, "gpu", is_chosen=False).problems)
    assert all("CPU" not in problem.what for problem in check_gpu(host, "cpu", is_chosen=True).problems)


def test_memory_that_others_hold_is_told() -> None:
    host = GpuHost("580.65", 70.0, 80.0, {"jaxlib": "0.12.0"} | _CUDA13, (3, 13))
    (problem,) = check_gpu(host, "gpu", is_chosen=False).problems
    assert problem.what == "other programs hold 70.0 of 80.0 GB of the GPU's memory"
    assert check_gpu(None, "cpu", is_chosen=False) == Checked({"driver": None}, [])


def test_report_holds_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _ask(["--report", str(tmp_path / "report.json")], capsys)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit_code"] == code and report["results"]["software"] == told["software"]


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = {"jax": "0.12.0.1", "jaxlib": "0.12.0"}
    monkeypatch.setattr(doctor, "find_gpu_host", lambda: GpuHost("580.65", 0.5, 80.0, packages, (3, 13)))
    assert main(["doctor", "--device", "gpu"]) == 3
    told = capsys.readouterr().err
    assert told.startswith("bonemet: NVIDIA GPU found, but no jax CUDA plugin is installed") and told.count("\n") == 1
    assert 'pip install "jax[cuda13]==0.12.0.1"' in told
    monkeypatch.setattr(doctor, "find_gpu_host", lambda: None)
    assert main(["doctor", "--device", "gpu"]) == 3
    assert "NVIDIA GPU found" not in capsys.readouterr().err


@pytest.mark.skipif(any(device.platform != "cpu" for device in jax.devices()), reason="accelerators have their own")
def test_the_largest_batch_counts_members_on_a_device_and_a_resident_cohort() -> None:
    memory = {"host_gb": 64.0, "limit_gb": 4.0}
    config = Config("sizes", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))

    def ask(**engine: str) -> dict[str, Any]:
        return diagnosis.check_run(replace(config, engine=replace(config.engine, **engine)), memory, 1e6).facts

    alone, together = ask(folds="sequential"), ask(folds="vmap")
    assert together["batch_memory_gb"] == pytest.approx(3 * alone["batch_memory_gb"])
    assert 2.8 < alone["largest_batch"] / together["largest_batch"] < 3.2
    streamed = replace(config, input=InputConfig(mode="stream"), phantom=replace(config.phantom, n=10_000))
    resident = replace(streamed, input=InputConfig(mode="resident"))
    rooms = [diagnosis.check_run(one, memory, 1e6).facts["largest_batch"] for one in (streamed, resident)]
    assert rooms[1] < rooms[0]


def test_a_batch_that_does_not_fit_stops_runs() -> None:
    config = Config("large", model=ModelConfig(network="tiny"), records=RecordsConfig(height=64, width=80))
    memory = {"host_gb": 64.0, "limit_gb": 0.2}
    fits = diagnosis.check_run(config, memory, 1e6)
    too_many = replace(config.train, batch_size=8 * fits.facts["largest_batch"])
    (problem,) = diagnosis.check_run(replace(config, train=too_many), memory, 1e6).problems
    assert fits.problems == [] and problem.exit_code == 3
    assert problem.mend == f"use --train.batch-size {fits.facts['largest_batch']}"


@pytest.mark.parametrize(("answer", "driver", "used"), [
    ("550.54.14, 100, 81559", "550.54.14", 0.1), ("[N/A], [N/A], [N/A]", "", None),
    ("580.1, \u00b2\u00b3, 81559", "580.1", None),
    ("[Unknown Error], 100, 81559", "", 0.1), ("No devices were found", "", None), ("", "", None),
])  # fmt: skip
def test_whatever_nvidia_smi_answers_is_survived(
    answer: str, driver: str, used: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpu_diagnosis, "_DRIVER", tmp_path / "none")
    host = find_gpu_host()
    assert host is not None and host.driver == driver
    assert host.used_gb == (None if used is None else pytest.approx(used, rel=0.05))
    assert all("\n" not in problem.what for problem in check_gpu(host, "cpu", is_chosen=False).problems)


def test_a_failing_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpu_diagnosis, "_DRIVER", tmp_path / "version")
    (problem,) = check_gpu(find_gpu_host(), "cpu", is_chosen=False).problems
    assert problem.what == "nvidia-smi finds no NVIDIA driver"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\n")
    assert "no jax CUDA plugin" in check_gpu(find_gpu_host(), "cpu", is_chosen=False).problems[0].what


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_are_told(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_diagnosis, "_DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    (problem,) = check_gpu(find_gpu_host(), "cpu", is_chosen=False).problems
    assert problem.what == "CUDA_VISIBLE_DEVICES hides every NVIDIA GPU"
