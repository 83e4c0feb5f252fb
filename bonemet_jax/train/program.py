"""A function compiled once, and how it is spread over a mesh of devices: jit, shard_map or pmap."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bonemet_jax import artifacts, hosts
from bonemet_jax.jax_workarounds import trace
from bonemet_jax.progress import say
from bonemet_jax.telemetry.compile_cache import CacheWatch, Found

#: The mesh's axes: groups of devices that train different members, and the devices of a group, that share its batches.
FOLD, DATA = "fold", "data"

#: What an argument or result is: the same on every device; one a member; rows of members' batches; the last two of
#: each step of an epoch.
Kind = Literal["resident", "member", "rows", "member_steps", "row_steps"]
_SPECS: dict[str, PartitionSpec] = {
    "resident": PartitionSpec(),
    "member": PartitionSpec(FOLD),
    "rows": PartitionSpec(FOLD, DATA),
    "member_steps": PartitionSpec(None, FOLD),
    "row_steps": PartitionSpec(None, FOLD, DATA),
}
#: The same for pmap, which stacks what differs between devices on an axis of its own.
_PMAP_AXES: dict[str, int | None] = {"resident": None, "member": None, "rows": 0, "member_steps": None,
                                         "row_steps": 1}


@dataclass(frozen=True)
class Spread:
    """How a program lies on the devices."""

    mesh: Mesh
    parallel: Literal["jit", "shard_map", "pmap"]

    @property
    def axis(self) -> str | None:
        """Name of the axis over which a step itself sums; None where the compiler does."""
        return None if self.parallel == "jit" else DATA

    def sharding(self, kind: Kind) -> NamedSharding:
        """Where arrays of this kind lie."""
        if self.parallel == "pmap":
            axis = _PMAP_AXES[kind]
            spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, DATA)
            return NamedSharding(self.mesh, spec)
        return NamedSharding(self.mesh, _SPECS[kind])

    def wrap(self, function: Callable[..., Any], takes: tuple[Kind, ...], gives: Any, donate: tuple[int, ...]) -> Any:
        """The jitted function: what each argument is, what each result (a tree of kinds), which arguments it eats."""
        if self.parallel == "pmap":
            return jax.pmap(
                function, DATA, in_axes=tuple(_PMAP_AXES[kind] for kind in takes),
                out_axes=jax.tree.map(lambda kind: _PMAP_AXES[kind], gives), donate_argnums=donate,
                devices=list(self.mesh.devices.flat),
            )
        if self.parallel == "shard_map":
            function = self._map(function, takes, gives, {FOLD, DATA})
        elif self.mesh.shape[FOLD] > 1:
            function = self._map(function, takes, gives, {FOLD})
        return jax.jit(function, donate_argnums=donate, out_shardings=jax.tree.map(self.sharding, gives))

    def _map(self, function: Callable[..., Any], takes: tuple[Kind, ...], gives: Any, axes: set[str]) -> Any:
        """`function` on each device's part along these axes; the compiler splits what is left."""

        def spec(kind: Kind) -> PartitionSpec:
            return PartitionSpec(*(name if name in axes else None for name in _SPECS[kind]))

        return jax.shard_map(
            function, mesh=self.mesh, in_specs=tuple(map(spec, takes)), out_specs=jax.tree.map(spec, gives),
            axis_names=axes, check_vma=False,
        )


@dataclass
class Program:
    """A function compiled at its first call and never again: other shapes are an error, not a second compile."""

    name: str
    function: Callable[..., Any]
    spread: Spread
    takes: tuple[Kind, ...]
    gives: Any
    donate: tuple[int, ...] = ()
    options: dict[str, str] | None = None
    n_traces: int = 0
    trace_s: float = 0.0
    lower_s: float = 0.0
    compile_s: float = 0.0
    dump_s: float = 0.0
    cache: Found = "off"
    lowered: Any = field(default=None, repr=False)
    compiled: Any = field(default=None, repr=False)
    dump_to: Path | None = None
    """Folder for its texts, written as soon as it is compiled."""
    is_compiling: bool = False
    """Now; with many processes until all of them have compiled."""

    @property
    def seconds(self) -> float:
        """Spent tracing, lowering and compiling, and writing down what came of it."""
        return self.trace_s + self.lower_s + self.compile_s + self.dump_s

    def compile(self, *args: Any) -> Any:
        """Compile for these arguments (or ShapeDtypeStructs), once."""
        if self.compiled is None:
            self.is_compiling = True
            try:
                self._compile(*args)
                hosts.meet()
            finally:
                self.is_compiling = False
        return self.compiled

    def _compile(self, *args: Any) -> None:
        say(f"compiling {self.name} ...")
        times = [time.perf_counter()]
        function = self.spread.wrap(self._counted, self.takes, self.gives, self.donate)
        traced = trace(function, *args)
        times.append(time.perf_counter())
        self.lowered = function.lower(*args) if traced is None else traced.lower()
        times.append(time.perf_counter())
        with CacheWatch() as watch:
            self.compiled = self.lowered.compile(compiler_options=self.options)
        times.append(time.perf_counter())
        self.trace_s, self.lower_s, self.compile_s = (after - before for before, after in pairwise(times))
        self.cache = watch.found
        say(f"compiled {self.name}: cache {self.cache}, {self.seconds:.1f} s")
        if self.dump_to is not None:
            self.dump(self.dump_to)
            self.dump_s = time.perf_counter() - times[-1]

    def describe(self) -> dict[str, Any]:
        """Number of traces (more than one is a fault), seconds of each phase, and whether the cache had it."""
        phases = {"trace_s": self.trace_s, "lower_s": self.lower_s, "compile_s": self.compile_s}
        return {"n_traces": self.n_traces, "cache": self.cache, **{name: round(s, 3) for name, s in phases.items()}}

    def gb_accessed(self) -> float | None:
        """Memory traffic of one call on one device as XLA counts it, GB; None where it does not say."""
        analysis = self.compiled.cost_analysis() if self.compiled is not None else None
        n_bytes = float((analysis or {}).get("bytes accessed", 0))
        return n_bytes / 1e9 if n_bytes > 0 else None

    def dump(self, directory: Path) -> None:
        """Write what was compiled and what came of it: StableHLO, optimised HLO, memory analysis."""
        artifacts.write_text(directory / f"{self.name}.stablehlo.mlir", self.lowered.as_text())
        artifacts.write_text(directory / f"{self.name}.optimized.hlo.txt", self.compiled.as_text())
        memory = self.compiled.memory_analysis()
        sizes = {name: getattr(memory, name) for name in dir(memory) if name.endswith("_size_in_bytes")}
        artifacts.write_json(directory / f"{self.name}.memory.json", sizes)

    def __call__(self, *args: Any) -> Any:
        return self.compile(*args)(*args)

    def _counted(self, *args: Any) -> Any:
        self.n_traces += 1
        return self.function(*args)


def over_members(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step(of member, resident, feed, hyper)` for a block of members, on the first axis of all but `resident`."""

    def block(member: Any, resident: Any, feed: Any, hyper: Any) -> Any:
        if len(hyper.lr) > 1:
            return jax.vmap(step, in_axes=(0, None, 0, 0))(member, resident, feed, hyper)
        first = jax.tree.map(lambda x: x[0], (member, feed, hyper))
        return jax.tree.map(lambda x: x[None], step(first[0], resident, *first[1:]))

    return block


def group_devices(devices: list[jax.Device], n_groups: int) -> Mesh:
    """Mesh of `n_groups` equal groups; devices that make no whole group are left out."""
    per_group = len(devices) // n_groups
    used = devices[: n_groups * per_group]
    return jax.make_mesh(
        (n_groups, per_group), (FOLD, DATA), axis_types=(jax.sharding.AxisType.Auto,) * 2, devices=used
    )
