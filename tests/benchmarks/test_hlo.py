"""Reading HLO: texts with counts made by hand, and programs whose count XLA gives too."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks.compiled.collectives import find_collectives
from benchmarks.compiled.hlo import Shape, read_module, read_shapes
from benchmarks.compiled.operations import count_convolutions, count_kinds, find_operations, find_place

#: What each line moves: gather 2 of 9 rows (2 x 4 x 4 B read, as much written, indices 8 B); an update in place of one
#: row (16 B) by an operand (16 B) with its place (4 B); five trips of a loop that copies 9 x 4 x 4 B.
_PARTS = """HloModule parts

%taken (p0: f32[9,4], p1: s32[2]) -> f32[2,4] {
  %p0 = f32[9,4]{1,0} parameter(0)
  %p1 = s32[2]{0} parameter(1)
  ROOT %g = f32[2,4]{1,0} gather(%p0, %p1), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}
}

%updated (q0: f32[9,4], q1: f32[1,4], q2: s32[]) -> f32[9,4] {
  %q0 = f32[9,4]{1,0} parameter(0)
  %q1 = f32[1,4]{1,0} parameter(1)
  %q2 = s32[] parameter(2)
  ROOT %u = f32[9,4]{1,0} dynamic-update-slice(%q0, %q1, %q2, %q2)
}

%body (b: (f32[9,4])) -> (f32[9,4]) {
  %b = (f32[9,4]{1,0}) parameter(0)
  %b0 = f32[9,4]{1,0} get-tuple-element(%b), index=0
  %c = f32[9,4]{1,0} copy(%b0), metadata={op_name="jit(f)/transpose(jvp(Net))/net/stage1/layer1_0/conv1/copy"}
  ROOT %t = (f32[9,4]{1,0}) tuple(%c)
}

%more (m: (f32[9,4])) -> pred[] {
  %m = (f32[9,4]{1,0}) parameter(0)
  ROOT %no = pred[] constant(false)
}

ENTRY %main (a: f32[9,4], i: s32[2], row: f32[1,4], at: s32[]) -> f32[9,4] {
  %a = f32[9,4]{1,0} parameter(0)
  %i = s32[2]{0} parameter(1)
  %row = f32[1,4]{1,0} parameter(2)
  %at = s32[] parameter(3)
  %some = f32[2,4]{1,0} fusion(%a, %i), kind=kLoop, calls=%taken
  %new = f32[9,4]{1,0} fusion(%a, %row, /*index=2*/%at), kind=kLoop, calls=%updated
  %start = (f32[9,4]{1,0}) tuple(%new)
  %w = (f32[9,4]{1,0}) while(%start), condition=%more, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %out = f32[9,4]{1,0} get-tuple-element(%w), index=0
}
"""

_CONVOLUTIONS = """HloModule convolutions

ENTRY %main (x: bf16[2,25,32,8], k: bf16[16,3,3,8], dy: bf16[2,13,16,16]) -> bf16[2,13,16,16] {
  %x = bf16[2,25,32,8]{3,2,1,0} parameter(0)
  %k = bf16[16,3,3,8]{3,2,1,0} parameter(1)
  %dy = bf16[2,13,16,16]{3,2,1,0} parameter(2)
  %y = (bf16[2,13,16,16]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(f)/jvp(Net)/net/stage2/c"}
  %dx = (bf16[2,25,32,8]{3,2,1,0}, u8[0]{0}) custom-call(%dy, %k), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput", metadata={op_name="jit(f)/transpose(jvp(Net))/net/stage2/c"}
  %dw = (bf16[16,3,3,8]{3,2,1,0}, u8[0]{0}) custom-call(%x, %dy), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter", metadata={op_name="jit(f)/transpose(jvp(Net))/net/stage2/c"}
  %g = bf16[2,25,32,16]{3,2,1,0} convolution(%x, %k), window={size=1x1}, dim_labels=b01f_o01i->b01f, feature_group_count=8
  ROOT %o = bf16[2,13,16,16]{3,2,1,0} get-tuple-element(%y), index=0
}
"""  # noqa: E501 - as XLA writes it


def test_bytes_are_what_crosses_the_border_of_an_instruction() -> None:
    found = {op.name: op for op in find_operations(read_module(_PARTS))}
    assert {name: op.total_bytes for name, op in found.items()} == {
        "some": 32 + 32 + 8, "new": 16 + 16 + 4, "c": 5 * 2 * 144,
    }  # fmt: skip
    assert (found["c"].stage, found["c"].direction) == ("stage1", "backward")
    assert count_kinds(found.values())["copy"]["count"] == 5


def test_convolutions_of_cudnn_count_the_same_in_all_three_roles() -> None:
    operations = find_operations(read_module(_CONVOLUTIONS))
    macs = 2 * 13 * 16 * 16 * 9 * 8
    assert [op.total_flops for op in operations[:3]] == [2 * macs] * 3
    assert count_convolutions(operations) == {
        "forward": 2, "input gradient": 1, "weight gradient": 1, "grouped": 1,
    }  # fmt: skip
    assert operations[0].total_bytes == 2 * (2 * 25 * 32 * 8 + 16 * 9 * 8 + 2 * 13 * 16 * 16)


def test_shapes_in_a_memory_of_their_own_move_nothing() -> None:
    shapes = read_shapes("(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, f32[3]{0:T(128)}, pred[], s4[5]{0}, token[])")
    assert shapes[0] == Shape("bf16", (8, 128), True)
    assert [shape.n_bytes for shape in shapes] == [0, 12, 1, 3, 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_flops_are_those_that_xla_counts(stride: int) -> None:
    """A convolution without padding, its gradients, a product: XLA's own count. The gradient of the input has padding,
    which XLA leaves out and we count, or the zeros of a stride, which neither does."""
    x, kernel = jnp.ones((2, 9, 11, 4)), jnp.ones((3, 3, 4, 6))

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=numbers)

    dy, pull = jax.vjp(convolve, x, kernel)
    calls = ((convolve, x, kernel), (lambda dy: pull(dy)[1], dy), (jnp.dot, dy[0, 0], dy[0, 0].T),
             (lambda dy: pull(dy)[0], dy))  # fmt: skip
    ours, xla = zip(*(_count_flops(*called) for called in calls), strict=True)
    assert ours[:3] == pytest.approx(xla[:3], rel=0.01)
    assert ours[3] == 2 * 9 * (x.size * 6 if stride == 1 else dy.size * 4)


def _count_flops(function: Any, *args: Any) -> tuple[int, float]:
    """Our count and XLA's."""
    compiled = jax.jit(function).lower(*args).compile()
    operations = find_operations(read_module(compiled.as_text()))
    return sum(op.total_flops for op in operations), compiled.cost_analysis()["flops"]


@pytest.mark.parametrize(("name", "place"), [
    ("jit(_counted)/jvp(JointModel)/net/stage3/layer3_16/conv3/conv_general_dilated", ("stage3", "forward")),
    ("jit(_counted)/transpose(jvp(JointModel))/net/stem/jit(_pad)/pad", ("stem", "backward")),
    ("jit(_counted)/jit(_take)/gather", ("gather", "")),
    ("jit(_counted)/channels/vmap()/dot_general", ("channels", "")),
    ("jit(_counted)/update/mul", ("update", "")),
    ("jit(_counted)/jvp(JointModel)/net/classes/dot_general", ("head", "forward")),
    ("jit(_counted)/transpose(jvp())/neg", ("head", "backward")),
    ("reduce_sum", ("other", "")),
])  # fmt: skip
def test_stages_are_found_in_names(name: str, place: tuple[str, str]) -> None:
    assert find_place(name) == place


def test_a_text_without_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="no entry"):
        read_module("HloModule nothing")


def test_what_is_updated_in_place_is_read_from_the_head() -> None:
    head = "HloModule f, input_output_alias={ {0}: (0, {}, may-alias), {1, 0}: (2, {}, must-alias) }, is_scheduled=true"
    module = read_module(_PARTS.replace("HloModule parts", head))
    assert module.updated == (0, 2) and module.alias_bytes == 9 * 4 * 4 + 4 * 4
    assert read_module(_PARTS).alias_bytes == 0


def test_products_in_the_form_of_convolutions_are_products() -> None:
    """As TPUs have them."""
    name = 'metadata={op_name="jit(f)/jvp(Net)/net/classes/dot_general"}'
    text = _CONVOLUTIONS.replace("feature_group_count=8", name)
    operations = find_operations(read_module(text))
    assert sum(count_convolutions(operations).values()) == 3
    assert operations[3].kind == "matrix product" and operations[3].product_flops == 2 * 2 * 25 * 32 * 16 * 8


def test_collectives() -> None:
    found = find_collectives(read_module("""HloModule sums

ENTRY %main (x: f32[3,2], y: f32[], z: f32[4], w: f64[1]) -> f64[8] {
  %x = f32[3,2]{1,0} parameter(0)
  %y = f32[] parameter(1)
  %z = f32[4]{0} parameter(2)
  %w = f64[1]{0} parameter(3)
  %a = (f32[3,2]{1,0}, f32[]) all-reduce(%x, %y), replica_groups={{0,1},{2,3}}, to_apply=%add
  %b = f32[4]{0} all-reduce(%z), replica_groups=[2,2]<=[2,2]T(1,0), to_apply=%add.clone_promoted
  %c = f64[2]{0} all-gather(%w), replica_groups=mesh['a'=2,'b'=2] {'a'}, dimensions={0}
  %begun = (f64[2]{0}, f64[8]{0}) all-gather-start(%c), replica_groups=[1,4]<=[4], dimensions={0}
  %ended = f64[8]{0} all-gather-done(%begun)
  %sent = ((f64[8]{0}), f64[2]{0}, u32[]) reduce-scatter-start(%ended), replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %moved = f64[8]{0} collective-permute(%ended), source_target_pairs={{0,1},{1,0}}
}
"""))
    assert [c[:3] for c in found] == [
        ("all-reduce", ("f32",), 28), ("all-reduce", ("bf16",), 8), ("all-gather", ("f64",), 16),
        ("all-gather", ("f64",), 64), ("reduce-scatter", ("f64",), 16), ("collective-permute", ("f64",), 64),
    ]  # fmt: skip
    assert found[0].groups == ({0, 1}, {2, 3}) and found[1].groups == ({0, 2}, {1, 3})
    assert found[2].groups == ({0, 2}, {1, 3}) and found[3].groups == ({0, 1, 2, 3},)
    assert found[5].groups == ({0, 1}, {0, 1})


@pytest.mark.parametrize("results", ["(f32[3]{0}, bf16[4]{0})", "((f32[3]{0}, bf16[4]{0}), (f32[3]{0}, bf16[4]{0}))"])
def test_results_of_an_asynchronous_all_reduce_count_once(results: str) -> None:
    """As XLA writes it with jax 0.10, and with 0.12, where the operands stand before."""
    (found,) = find_collectives(read_module(f"""HloModule sums

ENTRY %main (x: f32[3], y: bf16[4]) -> f32[3] {{
  %x = f32[3]{{0}} parameter(0)
  %y = bf16[4]{{0}} parameter(1)
  %begun = {results} all-reduce-start(%x, %y), replica_groups={{{{0,1}}}}, to_apply=%add
  %ended = (f32[3]{{0}}, bf16[4]{{0}}) all-reduce-done(%begun)
  ROOT %first = f32[3]{{0}} get-tuple-element(%ended), index=0
}}
"""))
    assert found[:3] == ("all-reduce", ("bf16", "f32"), 20)
