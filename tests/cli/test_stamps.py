from pathlib import Path

from bonemet_jax import artifacts
from bonemet_jax.cli import stamps


def test_stage_is_done_for_its_key_and_sound_outputs_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    artifacts.write_text(out, "1")
    assert not stamps.is_done(tmp_path, "s", "key1")
    stamps.stamp(tmp_path, "s", "key1", {"before": "key0"}, [out], 0.5)
    assert stamps.is_done(tmp_path, "s", "key1")
    assert not stamps.is_done(tmp_path, "s", "key2")
    out.write_text("damaged")
    assert not stamps.is_done(tmp_path, "s", "key1")
    assert artifacts.load_json(tmp_path / "stages" / "s.json")["inputs"] == {"before": "key0"}
