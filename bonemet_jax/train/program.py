"""A function compiled once, and how it is spread over a mesh of devices: jit, shard_map or pmap."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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

    function: Callable[..., Any]
    spread: Spread
    takes: tuple[Kind, ...]
    gives: Any
    donate: tuple[int, ...] = ()
    options: dict[str, str] | None = None
    n_traces: int = 0
    trace_s: float = 0.0
    compile_s: float = 0.0
    compiled: Any = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Spent tracing and compiling."""
        return self.trace_s + self.compile_s

    def compile(self, *args: Any) -> Any:
        """Compile for these arguments (or ShapeDtypeStructs), once."""
        if self.compiled is None:
            start = time.perf_counter()
            lowered = self.spread.wrap(self._counted, self.takes, self.gives, self.donate).lower(*args)
            traced = time.perf_counter()
            self.compiled = lowered.compile(compiler_options=self.options)
            self.trace_s, self.compile_s = traced - start, time.perf_counter() - traced
        return self.compiled

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
