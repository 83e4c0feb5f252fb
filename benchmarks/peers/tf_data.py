"""tf.data over our shards, as TFDS hands it to its users; in stored order, since it cannot permute records."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bonemet_jax.progress import quiet_tensorflow


def make_dataset(records_dir: Path, names: Sequence[str], batch_size: int) -> Iterable[dict[str, Any]]:
    """One pass each time it is walked: these features in numpy batches, read ahead."""
    with quiet_tensorflow():
        import tensorflow as tf
        import tensorflow_datasets as tfds

        tf.config.set_visible_devices([], "GPU")
        builder = tfds.builder_from_directory(str(records_dir))
        only = tfds.decode.PartialDecoding({name: builder.info.features[name] for name in names})
        reading = tfds.ReadConfig(try_autocache=False)
        dataset = builder.as_dataset(split="cohort", shuffle_files=False, decoders=only, read_config=reading)
        return tfds.as_numpy(dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE))
