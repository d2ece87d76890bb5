"""Graph -> stable text, the form of the golden files: one value per operand, types where a name
first appears."""


def type_text(value):
    shape = "x".join(str(d) for d in value.shape)
    where = f"@{value.buffer}" if value.buffer and value.buffer != value.name else ""
    return f"{value.dtype}[{shape}]{where}"


def graph_text(graph):
    """`%out: type = op(%in: type, ...) {attr=value}` per node, in program order."""
    seen = set()

    def operand(name):
        if name in seen:
            return f"%{name}"
        seen.add(name)
        return f"%{name}: {type_text(graph.values[name])}"

    lines = [f"graph {graph.name} rows={graph.rows}"]
    for node in graph.nodes:
        inputs = ", ".join(operand(n) for n in node.inputs)
        outputs = ", ".join(operand(n) for n in node.outputs)
        attrs = " {" + ", ".join(f"{k}={v}" for k, v in node.attrs) + "}" if node.attrs else ""
        lines.append(f"  {outputs + ' = ' if outputs else ''}{node.op}({inputs}){attrs}")
    lines.append("  return " + ", ".join(f"%{name}" for name in graph.outputs))
    return "\n".join(lines) + "\n"
