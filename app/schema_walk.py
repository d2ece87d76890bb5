"""Where a JSON schema holds schemas: other objects in it, such as examples, are no schemas, and a
property may have a keyword's name."""

MAPS = ("$defs", "definitions", "properties", "patternProperties")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "propertyNames", "unevaluatedProperties",
          "unevaluatedItems")


def rebuilt(node, change):
    """The schema `node` (a dict or bool) with `change(schema) -> schema` applied to each schema in
    it, an outer one before what is in it."""
    if not isinstance(node, dict):
        return node
    node = dict(change(node))
    for name in MAPS:
        if isinstance(node.get(name), dict):
            node[name] = {key: rebuilt(one, change) for key, one in node[name].items()}
    for name in LISTS:
        if isinstance(node.get(name), list):
            node[name] = [rebuilt(one, change) for one in node[name]]
    for name in SINGLE:
        if name in node:
            node[name] = rebuilt(node[name], change)
    return node
