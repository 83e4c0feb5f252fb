"""A shard is the unit of work: which patients it holds, what its file is called."""

from dataclasses import dataclass

DATASET = "bonemet_ct"
SPLIT = "cohort"


@dataclass(frozen=True)
class ShardTask:
    """One shard to make: patients `start` to `stop` of those sorted by patient_id."""

    index: int
    n_shards: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def file_name(self, file_format: str) -> str:
        """Name of the shard's file, as TFDS looks for it."""
        return f"{DATASET}-{SPLIT}.{file_format}-{self.index:05}-of-{self.n_shards:05}"


def make_tasks(n_patients: int, patients_per_shard: int) -> tuple[ShardTask, ...]:
    """Every shard but the last holds `patients_per_shard`: what a shard holds depends on nothing else."""
    starts = range(0, n_patients, patients_per_shard)
    return tuple(
        ShardTask(index, len(starts), start, min(start + patients_per_shard, n_patients))
        for index, start in enumerate(starts)
    )
