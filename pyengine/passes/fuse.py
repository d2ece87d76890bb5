"""Fusion: two neighbouring nodes become one where the fused op has a kernel for these shapes on
this device."""
from dataclasses import dataclass

from pyengine.ir.graph import Node


@dataclass(frozen=True)
class Fusion:
    """`producer`'s only reader is `consumer`, at input `slot`: both become `fused`.

    Operands of `fused`: the consumer's inputs with the producer's (less its state) spliced in at
    `slot`, or in `order` if given (indices into that spliced list); what `order` leaves out must
    occur among the rest. `keep`: `consumer` need only be the first reader, and `fused` has the
    producer's output as one more of its own. `same`: attributes that both must set alike, because
    `fused` has them once."""
    producer: str
    consumer: str
    slot: int
    fused: str
    order: tuple = ()
    keep: bool = False
    same: tuple = ()


def _merge(fusion, producer, consumer):
    """The fused node, or None where it would lose an operand."""
    spliced = (
        consumer.inputs[: fusion.slot] + producer.inputs[:-1] + consumer.inputs[fusion.slot + 1 :]
    )
    inputs = tuple(spliced[i] for i in fusion.order) if fusion.order else spliced
    if set(inputs) != set(spliced):
        return None
    attrs = tuple(sorted({**dict(producer.attrs), **dict(consumer.attrs)}.items()))
    outputs = consumer.outputs + (producer.outputs if fusion.keep else ())
    return Node(fusion.fused, inputs, outputs, attrs)


def _candidate(graph, fusion, producer):
    """The consumer that may swallow `producer`, or None: one output, read once (`keep`: first), by
    the right op at the right slot, with the same `same`."""
    if (
        producer.op != fusion.producer
        or len(producer.outputs) != 1
        or (producer.outputs[0] in graph.outputs and not fusion.keep)
    ):
        return None
    uses = graph.uses(producer.outputs[0])
    if (
        not uses
        or (len(uses) > 1 and not fusion.keep)
        or uses[0].op != fusion.consumer
        or uses[0].inputs.count(producer.outputs[0]) != 1
        or any(uses[0].attr(key) != producer.attr(key) for key in fusion.same)
    ):
        return None
    return uses[0] if uses[0].inputs[fusion.slot] == producer.outputs[0] else None


def _mutated_between(graph, producer, consumer, mutates):
    """True when a node between the two writes in place what the producer reads, or what it
    writes."""
    start, end = graph.nodes.index(producer), graph.nodes.index(consumer)
    names = set(producer.operands)
    return any(
        node.inputs[i] in names for node in graph.nodes[start + 1 : end] for i in mutates(node)
    )


def fuse(graph, fusions, supported, mutates):
    """`graph` with each `Fusion` applied wherever `supported(node, graph)` has a kernel for the
    fused node."""
    for fusion in fusions:
        for producer in list(graph.nodes):
            consumer = _candidate(graph, fusion, producer)
            if consumer is None or _mutated_between(graph, producer, consumer, mutates):
                continue
            fused = _merge(fusion, producer, consumer)
            if fused is not None and supported(fused, graph):
                nodes = [
                    fused if node is consumer else node
                    for node in graph.nodes
                    if node is not producer
                ]
                graph = graph.replace(nodes)
    return graph
