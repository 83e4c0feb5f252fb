"""The example launch files are well formed and start the verb as it is."""

import subprocess
from pathlib import Path

import yaml

from bonemet_jax.cli.run import RunArgs, parse_run

LAUNCH = Path(__file__).parents[2] / "configs" / "launch"


def test_slurm_script_is_bash_and_its_flags_parse() -> None:
    script = LAUNCH / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    (line,) = [line for line in script.read_text().splitlines() if "bonemet run" in line]
    flags = line.partition('-o "$run" ')[2].partition(" ||")[0].split()
    assert parse_run(RunArgs, "run", [str(LAUNCH.parent / "smoke.py"), *flags]).distributed == "auto"


def test_jobset_names_process_0_by_its_own_hostname_and_counts_its_processes() -> None:
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]
    (container,) = spec["template"]["spec"]["containers"]
    name = jobset["metadata"]["name"]
    port = container["ports"][0]["containerPort"]
    coordinator = f"{name}-{job['name']}-0-0.{name}:{port},{spec['completions']},$JOB_COMPLETION_INDEX"
    assert f'--distributed "{coordinator}"' in container["command"][-1]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
