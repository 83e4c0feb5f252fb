"""Where gradient boosting runs."""

import xgboost

from bonemet_jax.errors import DeviceError
from bonemet_jax.missing_package import install_command

#: Training patients from which the GPU is the faster one; None: not measured yet, so `auto` stays on the CPU.
#: `python -m benchmarks gbdt` measures it on a machine that has both.
CROSSOVER_PATIENTS: int | None = None


def choose_device(wanted: str, n_patients: int) -> str:
    """cpu or cuda, for this many training patients.

    Raises: DeviceError when cuda is asked for and this build of XGBoost has none.
    """
    built = bool(xgboost.build_info().get("USE_CUDA"))
    if wanted == "cuda" and not built:
        raise DeviceError("this build of XGBoost has no CUDA", "--fusion.xgboost-device cuda",
                          f"{install_command('xgboost', remove='xgboost xgboost-cpu')}; or leave the flag out")
    if wanted == "auto":
        pays = CROSSOVER_PATIENTS is not None and n_patients >= CROSSOVER_PATIENTS
        return "cuda" if built and pays else "cpu"
    return wanted
