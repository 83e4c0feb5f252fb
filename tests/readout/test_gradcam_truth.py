"""Does Grad-CAM find the planted truth? Networks trained on phantoms whose risk lies in the texture of fat.

Planted is the correlation length of fat: the smoother, the higher the risk. What a network can detect is fine texture,
so it learns what speaks against metastasis, and subcutaneous fat is where it finds it or misses it. Two claims:

- Against: the share of the map that lies in subcutaneous fat exceeds the fat's share of the picture, and that of
  networks trained on shuffled labels or not at all. It was found on the cohort of phantom.seed 0 in all six networks
  (three folds, with mask bias and without) at the last stage, and is tested here on another cohort.
- For (plain Grad-CAM): it does not hold. On that cohort's 431 test patients the share less the fat's area was, with
  mask bias, -.036 [-.046, -.025] in stage 1 and -.105 [-.109, -.101] in stage 2; without, +.072 [+.053, +.090] and
  -.003 [-.014, +.006], from +.258 to -.124 in single networks. What raises the score of a patient whose fat is smooth
  is what is left when nothing lowers it, and that may lie anywhere. The test of it is expected to fail, and must.

That this is the reason is tested too: with the labels exchanged, so that fine texture raises the score, plain Grad-CAM
must lie in the fat.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from jaxtyping import Float

from bonemet_jax import artifacts
from bonemet_jax.cohort.folds import make_folds
from bonemet_jax.config import Config, MaskBiasConfig, load_config
from bonemet_jax.input_pipeline.records import RecordArrays, load_records
from bonemet_jax.readout.embeddings import load_state
from bonemet_jax.readout.gradcam import EVIDENCE, find_stages, read_gradcam
from bonemet_jax.readout.tissue_shares import REGIONS, compute_area_shares, compute_shares, make_regions
from bonemet_jax.stats.bootstrap import compute_percentile_interval, draw_patients
from bonemet_jax.train.loop import get_fed_engine, train_folds
from bonemet_jax.train.state import TrainState
from data_pipelines.bonemet_ct.build import build_records
from data_pipelines.bonemet_ct.tissue import TissueReader
from data_pipelines.phantom import make_cohort

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SMOKE = load_config(Path(__file__).parents[2] / "configs" / "smoke.py")
#: Another cohort than the one on which the claims were found.
CONFIG = replace(SMOKE, phantom=replace(SMOKE.phantom, seed=1))
OFF = replace(CONFIG, model=replace(CONFIG.model, mask_bias=MaskBiasConfig(enabled=False)))
CONFIGS = {"mask_bias": CONFIG, "no_mask_bias": OFF}
FOLD, N_RANDOM = 0, 8
SAT = list(REGIONS).index("sat")
STAGES = find_stages(CONFIG.model)
#: Labels that a network is trained on: the true ones, these in another order, the true ones exchanged (1 for healthy).
KINDS = ("trained", "shuffled", "exchanged")
#: What each kind's share is compared with.
OTHERS = {"trained": ("area", "shuffled", "random"), "exchanged": ("area", "trained", "random")}


class Fat(NamedTuple):
    """Of one network's maps of the test patients."""

    share: Float[np.ndarray, "evidence stage patient"]
    """In subcutaneous fat; NaN where a map is zero everywhere."""
    density: Float[np.ndarray, "evidence stage patient"]
    """Sum of the map in it over its share of the picture."""


@dataclass(frozen=True)
class Truth:
    """A cohort, and what networks say of the test patients of one fold."""

    label: np.ndarray
    factor: np.ndarray
    """The planted factor: SDs of the log correlation length of fat."""
    area: np.ndarray
    found: dict[tuple[str, str], list[Fat]]
    """By config and kind of network: KINDS, random (weights)."""

    def compare(
        self, config: str, evidence: str, stage: str, other: str, kind: str = "trained"
    ) -> tuple[float, tuple[float, float]]:
        """Mean over patients of a network's share less another's, paired, and its bootstrap interval.

        Args:
            other: area: the tissue's own share; else a kind of networks, their mean.
            kind: Of the network.
        """
        at = EVIDENCE.index(evidence), STAGES.index(stage)
        less = self.area if other == "area" else self._average(config, other, at)
        difference = self.found[config, kind][0].share[at] - less
        known = np.isfinite(difference)
        weight = draw_patients(self.label, 2000, 0).weight[:, known].astype(float)
        interval = compute_percentile_interval(weight @ difference[known] / weight.sum(1))
        assert interval is not None
        return float(difference[known].mean()), interval

    def _average(self, config: str, kind: str, at: tuple[int, int]) -> Float[np.ndarray, " patient"]:
        """Over the networks that have a map of the patient."""
        shares = np.ma.masked_invalid([fat.share[at] for fat in self.found[config, kind]])
        return shares.mean(axis=0).filled(np.nan)

    def correlate(self, config: str, kind: str, stage: str) -> list[float]:
        """Pearson r of what speaks against metastasis, per area of fat, with the planted factor; one a network.

        0 for maps that are zero in everybody's fat: they follow nothing.
        """
        found = [fat.density[EVIDENCE.index("against"), STAGES.index(stage)] for fat in self.found[config, kind]]
        return [float(np.corrcoef(density, self.factor)[0, 1]) if density.std() else 0.0 for density in found]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Six trainings of the smoke config's network, and networks of random weights."""
    root = tmp_path_factory.mktemp("truth")
    make_cohort(CONFIG.phantom, root / "cohort")
    records = load_records(build_records(root / "cohort", root / "tfds", CONFIG.records, "truth"))
    folds = make_folds(records.patient_id, records.label.tolist(), CONFIG.folds)
    tested = np.array([records.patient_id.index(patient) for patient in folds.patient_ids(FOLD, "test")])
    reader = TissueReader(root / "cohort", CONFIG.records)
    regions = make_regions(*reader.read([records.patient_id[i] for i in tested]))
    shuffled = np.random.default_rng(0).permutation(records.label)
    labels = (records.label, shuffled, 1 - records.label)
    found: dict[tuple[str, str], list[Fat]] = {}
    for name, config in CONFIGS.items():
        engine = get_fed_engine(records, config).engine
        drawn = [engine.fetch_states(engine.make_state([(100 + seed, FOLD)]))[0] for seed in range(N_RANDOM)]
        found[name, "random"] = [_measure(records, config, state, tested, regions) for state in drawn]
        for kind, label in zip(KINDS, labels, strict=True):
            train_folds(replace(records, label=label), folds, config, root / name / kind, (FOLD,))
            state = load_state(config, root / name / kind, FOLD, engine.state_template())
            found[name, kind] = [_measure(records, config, state, tested, regions)]
    planted = artifacts.load_json(root / "cohort" / "truth.json")["texture"]["factor"]
    factor = np.array([planted[records.patient_id[i]] for i in tested])
    result = Truth(records.label[tested], factor, compute_area_shares(regions)[:, SAT], found)
    _print(result)
    return result


def _measure(records: RecordArrays, config: Config, state: TrainState, tested: np.ndarray, regions: np.ndarray) -> Fat:
    cam = np.concatenate([batch.cam for batch in read_gradcam(records, config, state, tested.tolist())], axis=2)
    share = compute_shares(cam, regions)[..., SAT]
    return Fat(share, np.nan_to_num(share) * cam.sum((-2, -1)) / compute_area_shares(regions)[:, SAT])


def _print(truth: Truth) -> None:
    for config in CONFIGS:
        for kind, others in OTHERS.items():
            for evidence in EVIDENCE:
                for stage in STAGES:
                    told = []
                    for other in others:
                        mean, (low, high) = truth.compare(config, evidence, stage, other, kind)
                        told.append(f"less {other} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
                    print(f"share in SAT, {config}, {kind}, {evidence}, {stage}: {', '.join(told)}")
        for stage in STAGES:
            r = {kind: np.round(truth.correlate(config, kind, stage), 2).tolist() for kind in (*KINDS[:2], "random")}
            print(f"against per area of SAT, r with the planted factor, {config}, {stage}: {r}")


@pytest.mark.parametrize("config", CONFIGS)
def test_what_speaks_against_metastasis_lies_in_subcutaneous_fat(truth: Truth, config: str) -> None:
    """At every stage more than its area; at the last also more than with shuffled labels and with random weights."""
    for other in OTHERS["trained"]:
        assert truth.compare(config, "against", STAGES[-1], other)[1][0] > 0, other
    for stage in STAGES:
        assert truth.compare(config, "against", stage, "area")[1][0] > 0, stage


@pytest.mark.parametrize("config", CONFIGS)
def test_it_follows_the_planted_texture(truth: Truth, config: str) -> None:
    """The smoother a patient's fat was planted, the less in it speaks against metastasis; others know less of that."""
    (trained,) = truth.correlate(config, "trained", STAGES[-1])
    assert trained < -0.5
    assert all(trained < r for kind in ("shuffled", "random") for r in truth.correlate(config, kind, STAGES[-1]))


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="what is missing leaves no mark: see the top of the file")
def test_what_speaks_for_metastasis_lies_in_subcutaneous_fat(truth: Truth) -> None:
    """Plain Grad-CAM, every stage, with mask bias and without."""
    for config in CONFIGS:
        for stage in STAGES:
            for other in OTHERS["trained"]:
                assert truth.compare(config, "for", stage, other)[1][0] > 0, (config, stage, other)


@pytest.mark.parametrize("config", CONFIGS)
def test_grad_cam_lies_in_the_fat_where_its_texture_raises_the_score(truth: Truth, config: str) -> None:
    """Plain Grad-CAM at the last stage, labels exchanged: more than the area, than with true labels, than at random."""
    for other in OTHERS["exchanged"]:
        assert truth.compare(config, "for", STAGES[-1], other, "exchanged")[1][0] > 0, other
