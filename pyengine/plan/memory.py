"""The arena: temps of one program laid out by lifetime. A pure function; the tests assert that
nothing alive overlaps."""
from dataclasses import dataclass

ALIGN = 256  # WebGPU's guaranteed storage buffer offset alignment


@dataclass(frozen=True)
class Lifetime:
    """`nbytes` needed from node `first` (its writer) to node `last` (its last reader), both
    inclusive."""
    name: str
    nbytes: int
    first: int
    last: int


def align(nbytes, to=ALIGN):
    return -(-nbytes // to) * to


def lifetimes(graph):
    """Lifetimes of the graph's temps, in order of first use."""
    first, last = {}, {}
    for index, node in enumerate(graph.nodes):
        for name in node.operands:
            if graph.values[name].role == "temp":
                first.setdefault(name, index)
                last[name] = index
    return [Lifetime(name, graph.values[name].nbytes, first[name], last[name]) for name in first]


def plan_arena(lives):
    """[Lifetime] -> ({name: offset}, arena bytes): largest first, each at the lowest gap free for
    its whole life (Pisarchyk and Lee 2020, "greedy by size")."""
    placed = []  # (offset, end, Lifetime)
    offsets = {}
    for life in sorted(lives, key=lambda x: (-x.nbytes, x.first, x.name)):
        size = align(life.nbytes)
        busy = sorted(
            (o, e)
            for o, e, other in placed
            if other.first <= life.last and life.first <= other.last
        )
        offset = 0
        for start, end in busy:
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, life))
        offsets[life.name] = offset
    return offsets, max((end for _, end, _ in placed), default=0)
