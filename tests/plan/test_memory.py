"""The arena: nothing alive overlaps, whatever the lifetimes; never less than what is alive at
once."""
import random

from hypothesis import given, settings
from hypothesis import strategies as some

from pyengine.compile import compile_model
from pyengine.plan.memory import ALIGN, Lifetime, align, lifetimes, plan_arena
from tests.checkpoints import CONFIG

SIZES = some.one_of(some.sampled_from([0, 1, 7, 83, 255, 256, 257, 769]), some.integers(1, 1 << 20))


@some.composite
def lives(draw):
    found = []
    for i in range(draw(some.integers(0, 24))):
        first = draw(some.integers(0, 20))
        found.append(Lifetime(f"t{i}", draw(SIZES), first, first + draw(some.integers(0, 10))))
    return found


def live_bytes(found):
    """The most bytes alive at one node."""
    return max((sum(align(x.nbytes) for x in found if x.first <= step <= x.last)
                for step in range(40)), default=0)


def check(found, offsets, size):
    assert set(offsets) == {x.name for x in found}
    for i, a in enumerate(found):
        assert offsets[a.name] % ALIGN == 0 and 0 <= offsets[a.name] <= size - a.nbytes
        for b in found[:i]:
            apart = (offsets[a.name] + a.nbytes <= offsets[b.name]
                     or offsets[b.name] + b.nbytes <= offsets[a.name])
            together = a.first <= b.last and b.first <= a.last
            assert apart or not together, f"{a} at {offsets[a.name]} over {b} at {offsets[b.name]}"
    assert live_bytes(found) <= size <= sum(align(x.nbytes) for x in found)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(lives())
def test_nothing_alive_overlaps(found):
    check(found, *plan_arena(found))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lives(), some.randoms(use_true_random=False))
def test_the_layout_does_not_depend_on_the_order_asked(found, rng):
    shuffled = found[:]
    rng.shuffle(shuffled)
    assert plan_arena(shuffled) == plan_arena(found)


def test_a_chain_takes_two_slots():
    chain = [Lifetime(f"t{i}", 1000, i, i + 1) for i in range(83)]
    offsets, size = plan_arena(chain)
    assert size == 2 * 1024 and set(offsets.values()) == {0, 1024}


def test_a_gap_is_used():
    found = [
        Lifetime("a", 512, 0, 9),
        Lifetime("b", 512, 0, 1),
        Lifetime("c", 511, 0, 9),
        Lifetime("d", 300, 5, 6),
    ]
    random.Random(1).shuffle(found)
    offsets, size = plan_arena(found)
    assert size == 3 * 512 and offsets["d"] == offsets["b"]


def test_a_graph_s_lifetimes_run_from_the_writer_to_the_last_reader():
    graph = compile_model(CONFIG).graphs[0]
    found = {x.name: x for x in lifetimes(graph)}
    assert set(found) == {name for name, value in graph.values.items() if value.role == "temp"}
    for name, life in found.items():
        touching = [i for i, node in enumerate(graph.nodes) if name in node.operands]
        assert (life.first, life.last) == (touching[0], touching[-1])
        assert name in graph.nodes[life.first].outputs and life.nbytes == graph.values[name].nbytes


def test_the_arenas_of_a_model():
    for graph in compile_model(CONFIG).graphs:
        check(lifetimes(graph), *plan_arena(lifetimes(graph)))
