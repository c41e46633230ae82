"""Reading what compilers write: loops, fusions, exchanges, products, in both of their dialects."""

import pytest

from stepcoder_jax.plan.chips import CHIPS
from stepcoder_jax.plan.collectives import Collective, collectives, group_size
from stepcoder_jax.plan.hlo import byte_count, parse
from stepcoder_jax.plan.products import compiled_products
from stepcoder_jax.plan.traffic import bytes_moved

# A loop of five turns: a product, an exchange under one channel in two places, a slice in a fusion.
PROGRAM = """\
HloModule jit_step, is_scheduled=true

%cond (state: (s32[], f32[4,8])) -> pred[] {
  %state = (s32[]{:T(128)}, /*index=1*/f32[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %five = s32[]{:T(128)} constant(5)
  ROOT %less = pred[]{:T(512)} compare(%i, %five), direction=LT
}

%sliced (stack: f32[5,8,8], at: s32[]) -> f32[8,8] {
  %stack = f32[5,8,8]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %cut = f32[1,8,8]{2,1,0} dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,8,8}
  ROOT %flat = f32[8,8]{1,0} bitcast(%cut)
}

%exchange (x: f32[4,8]) -> f32[4,8] {
  %x = f32[4,8]{1,0} parameter(0)
  ROOT %sum.2 = f32[4,8]{1,0} all-reduce(%x), channel_id=7, replica_groups={{0,1},{2,3}}
}

%body (state.1: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %x.1 = f32[4,8]{1,0} get-tuple-element(%state.1), index=1
  %weights = f32[5,8,8]{2,1,0} constant({...})
  %w = f32[8,8]{1,0} fusion(%weights, %i.1), kind=kLoop, calls=%sliced
  %y = f32[4,8]{1,0:T(8,128)S(1)} dot(%x.1, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %sum.1 = f32[4,8]{1,0:T(8,128)S(1)} all-reduce(%y), channel_id=7, replica_groups={{0,1},{2,3}}
  %begun = f32[4,8]{1,0:T(8,128)S(1)} fusion(%sum.1), kind=kCustom, calls=%exchange
  %step = s32[] constant(1)
  %i.2 = s32[] add(%i.1, %step)
  ROOT %next = (s32[], f32[4,8]{1,0}) tuple(%i.2, %begun)
}

ENTRY %main (start: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %start = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %loop = (s32[], f32[4,8]{1,0}) while(%start), condition=%cond, body=%body
}
"""


def test_a_loop_counts_as_often_as_it_turns() -> None:
    runs = {name: (count, is_fused) for name, count, is_fused in parse(PROGRAM).runs()}
    assert runs == {
        "main": (1, False),
        "body": (5, False),
        "sliced": (5, True),
        "exchange": (5, True),
    }


@pytest.mark.parametrize(("step", "turns"), [(1, 5), (2, 3), (5, 1)])
def test_a_loop_that_was_unrolled_counts_by_more_than_one(step: int, turns: int) -> None:
    program = PROGRAM.replace("%step = s32[] constant(1)", f"%step = s32[] constant({step})")
    assert ("body", turns, False) in parse(program).runs()
    fused = """\
%grow (i.3: s32[]) -> s32[] {
  %i.3 = s32[] parameter(0)
  %step.1 = s32[] constant(STEP)
  ROOT %more = s32[] add(%i.3, %step.1)
}

%exchange""".replace("STEP", str(step))
    program = program.replace("%exchange", fused, 1)
    program = program.replace("add(%i.1, %step)", "fusion(%i.1), kind=kLoop, calls=%grow")
    assert ("body", turns, False) in parse(program).runs()


def test_a_loop_whose_end_is_not_known_counts_once() -> None:
    unknown = PROGRAM.replace(
        "ROOT %less = pred[]{:T(512)} compare(%i, %five), direction=LT",
        "%less = pred[] compare(%i, %five), direction=LT\n  ROOT %both = pred[] and(%less, %less)",
    )
    assert ("body", 1, False) in parse(unknown).runs()


def test_an_exchange_spread_over_two_places_is_one() -> None:
    found = collectives(parse(PROGRAM), devices=4)
    assert found == (Collective(kind="all-reduce", bytes=4 * 8 * 4, group=2, count=5),)


def test_an_exchange_on_a_sparse_core_counts() -> None:
    begun = "%begun = f32[4,8]{1,0:T(8,128)S(1)} "
    fused = begun + "fusion(%sum.1), kind=kCustom, calls=%exchange"
    assert fused in PROGRAM
    offloaded = (
        "%on = ((), s32[1]{0}) call-start(%y), async_execution_thread="
        + '"sparsecore", to_apply=%exchange\n  '
        + begun
        + "call-done(%on)"
    )
    alone = "%sum.1 = f32[4,8]{1,0:T(8,128)S(1)} all-reduce(%y), channel_id=7"
    program = PROGRAM.replace(fused, offloaded).replace(alone, "%sum.1 = f32[4,8]{1,0} copy(%y)")
    (found,) = collectives(parse(program), devices=4)
    assert (found.kind, found.bytes, found.count) == ("all-reduce", 128, 5)


def test_products_of_a_loop() -> None:
    assert compiled_products(parse(PROGRAM)) == 5 * (2 * 4 * 8 * 8)


def test_of_a_stack_that_is_sliced_the_slice_is_read() -> None:
    slices = 4 + 2 * 8 * 8 * 4  # the place, read from the stack, written for the product
    product = 4 * 8 * 4 + 8 * 8 * 4  # its result stays in the core
    counter = 3 * 4  # two numbers and their sum
    assert bytes_moved(parse(PROGRAM)) == 5 * (slices + product + counter)


def test_a_slice_in_a_fusion_inside_of_a_fusion_is_read_alone() -> None:
    # The outer one is called; it hands the stack on under another shape.
    outer = """\
%outer (stack.1: f32[5,64], at.1: s32[]) -> f32[8,8] {
  %stack.1 = f32[5,64]{1,0} parameter(0)
  %at.1 = s32[] parameter(1)
  %shaped = f32[5,8,8]{2,1,0} bitcast(%stack.1)
  %w.1 = f32[8,8]{1,0} fusion(%shaped, %at.1), kind=kLoop, calls=%sliced
  ROOT %twice = f32[8,8]{1,0} add(%w.1, %w.1)
}

%exchange"""
    nested = PROGRAM.replace("calls=%sliced", "calls=%outer").replace("%exchange", outer, 1)
    assert bytes_moved(parse(nested)) == bytes_moved(parse(PROGRAM))


@pytest.mark.parametrize(
    ("line", "left", "right", "flops"),
    [
        ("f32[6,5] convolution(%l, %r), dim_labels=bf_io->bf", "6,7", "7,5", 2 * 6 * 5 * 7),
        ("f32[6,5] convolution(%l, %r), dim_labels=bf_oi->bf", "6,7", "5,7", 2 * 6 * 5 * 7),
        # Contracted along the window, too: heads and channels of an output projection.
        (
            "f32[6,5,1] convolution(%l, %r), window={size=3}, dim_labels=b0f_0io->bf0",
            "6,3,7",
            "3,7,5",
            2 * 6 * 5 * 3 * 7,
        ),
        # The window is a batch of four products.
        (
            "f32[4,6,5] convolution(%l, %r), window={size=4 stride=3 lhs_dilate=4},"
            " dim_labels=0bf_0io->0bf",
            "4,6,7",
            "4,7,5",
            4 * 2 * 6 * 5 * 7,
        ),
        # The window is an outer product.
        (
            "f32[6,3,5] convolution(%l, %r), window={size=3 pad=2_2 rhs_reversal=1},"
            " dim_labels=b0f_0io->b0f",
            "6,1,7",
            "3,7,5",
            2 * 6 * 3 * 5 * 7,
        ),
    ],
)
def test_tpus_write_products_as_convolutions(line: str, left: str, right: str, flops: int) -> None:
    program = (
        f"ENTRY %main (l: f32[{left}], r: f32[{right}]) -> f32[] {{\n"
        f"  %l = f32[{left}] parameter(0)\n  %r = f32[{right}] parameter(1)\n"
        f"  ROOT %y = {line}\n}}\n"
    )
    assert compiled_products(parse(program)) == flops


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("replica_groups={{0,1,2},{3,4,5}}", 3),
        ("replica_groups=[2,4]<=[8]", 4),
        ("replica_groups=[4,2]<=[2,2,2]T(2,1,0)", 2),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}", 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", 8),
        ("replica_groups=mesh['a'=8] {'a':(2)4}", 4),
        ("replica_groups={}", 8),
    ],
)
def test_groups_in_every_way_of_writing_them(attributes: str, size: int) -> None:
    assert group_size(f", channel_id=1, {attributes}, dimensions={{0}}", devices=8) == size


def test_a_ring_sends_all_but_its_own_part_and_reduces_in_two_rounds() -> None:
    chip = CHIPS["v5e"]
    gather = Collective(kind="all-gather", bytes=4 * 10**9, group=4, count=1).seconds(chip)
    assert gather == pytest.approx(3e9 / 100e9)
    reduce = Collective(kind="all-reduce", bytes=4 * 10**9, group=4, count=1).seconds(chip)
    assert reduce == pytest.approx(2 * gather)


def test_bytes_of_types() -> None:
    text = "(bf16[2,3]{1,0:T(8,128)(2,1)}, f32[4]{0:T(128)S(1)}, pred[5]{0}, s32[])"
    assert byte_count(text) == 12 + 16 + 5 + 4
    assert byte_count(text, main_memory_only=True) == 12 + 5 + 4


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("nothing")
