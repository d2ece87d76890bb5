"""Refuses JSON schemas that no value satisfies, and keywords that the grammar would not hold to: a
refusal is better than an answer that breaks the schema, or one that never ends."""

from app import schema_walk
from app.schema_ranges import BOUNDS
from pyengine.errors import EngineError

MAX_DEPTH = 64
# XGrammar reads past these
IGNORED = ("not", "if", "then", "else", "contains", "minContains", "maxContains", "multipleOf",
           "uniqueItems", "dependentRequired", "dependentSchemas", "dependencies", "$dynamicRef",
           "$recursiveRef", "$anchor", "$id")
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
RANGES = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum"),
          ("exclusiveMinimum", "maximum"), ("minimum", "exclusiveMaximum"),
          ("minProperties", "maxProperties"))


def check_schema(schema, param):
    """Raises E_BAD_REQUEST naming the place in `schema` (a dict) that cannot be held to."""
    _Check(schema, param).run()


class _Check:
    def __init__(self, root, param):
        self._root, self._param = root, param
        self._nodes = {}      # id of a schema -> (schema, where)
        self._satisfied = set()

    def _bad(self, where, got, wanted):
        return EngineError("E_BAD_REQUEST", param=self._param + where, got=str(got)[:120],
                           wanted=wanted)

    def run(self):
        self._collect(self._root, "", 0)
        # the least fixed point: what needs itself is never satisfied
        grew = True
        while grew:
            before = len(self._satisfied)
            for key, (node, _) in self._nodes.items():
                if key not in self._satisfied and self._is_satisfied(node):
                    self._satisfied.add(key)
            grew = len(self._satisfied) > before
        for node, where in self._nodes.values():
            choices = [*node.get("anyOf", ()), *node.get("oneOf", ()),
                       *node.get("properties", {}).values()]
            # one that has no end may not even be begun
            if not self._ok(node) or not all(map(self._ok, choices)):
                raise self._bad(where, "one that only values without end satisfy, or none",
                                "a schema whose recursion can end")

    def _collect(self, node, where, depth):
        if depth > MAX_DEPTH:
            raise self._bad(where, "deeper", f"at most {MAX_DEPTH} schemas inside each other")
        if isinstance(node, bool):
            return
        if not isinstance(node, dict):
            raise self._bad(where, repr(node), "a schema: an object, true or false")
        self._nodes[id(node)] = node, where
        self._look(node, where)
        for name, child in self._children(node, where):
            self._collect(child, name, depth + 1)

    def _children(self, node, where):
        for name in schema_walk.MAPS:
            group = node.get(name, {})
            if not isinstance(group, dict):
                raise self._bad(f"{where}.{name}", repr(group), "an object of schemas")
            for key, child in group.items():
                yield f"{where}.{name}.{key}", child
        for name in schema_walk.LISTS:
            group = node.get(name, [])
            if not isinstance(group, list) or name in node and not group:
                raise self._bad(f"{where}.{name}", repr(group), "a list of schemas")
            for i, child in enumerate(group):
                yield f"{where}.{name}[{i}]", child
        for name in schema_walk.SINGLE:
            if name in node:
                yield f"{where}.{name}", node[name]

    def _look(self, node, where):
        """What is wrong with one schema by itself."""
        for name in IGNORED:
            if name in node and node[name] is not False:
                raise self._bad(f"{where}.{name}", repr(node[name]),
                                "a schema without it, as it could not be held to")
        types = node.get("type", [])
        for one in types if isinstance(types, list) else [types]:
            if one not in TYPES:
                raise self._bad(f"{where}.type", repr(one), "one of " + ", ".join(TYPES))
        if "allOf" in node and isinstance(node["allOf"], list) and len(node["allOf"]) > 1:
            raise self._bad(f"{where}.allOf", "several schemas", "one schema that says it all")
        if "enum" in node and (not isinstance(node["enum"], list) or not node["enum"]):
            raise self._bad(f"{where}.enum", repr(node["enum"]), "a list of at least one value")
        if "type" not in node and any(name in node for name in BOUNDS):
            raise self._bad(f"{where}.type", "missing", "the type that the bounds are for")
        if "pattern" in node and ("minLength" in node or "maxLength" in node):
            raise self._bad(f"{where}.pattern", "one beside a length", "a pattern that says both")
        for low, high in RANGES:
            self._range(node, where, low, high)
        if "$ref" in node:
            self._target(node, where)
        self._required(node, where)

    def _range(self, node, where, low, high):
        a, b = node.get(low), node.get(high)
        for name, value in ((low, a), (high, b)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not number or number and "Length" in name and value < 0:
                raise self._bad(f"{where}.{name}", repr(value), "a number")
        if a is not None and b is not None and (a > b or a == b and "exclusive" in low + high):
            raise self._bad(f"{where}.{low}", a, f"at most {high}, which is {b}")

    def _required(self, node, where):
        required = node.get("required", [])
        if not isinstance(required, list) or any(not isinstance(n, str) for n in required):
            raise self._bad(f"{where}.required", repr(required), "a list of names")
        properties = node.get("properties", {})
        missing = [n for n in required if not isinstance(properties, dict) or n not in properties]
        if missing:
            raise self._bad(f"{where}.required", repr(missing[0]), "names that properties declares")

    def _target(self, node, where):
        """The schema that a `$ref` names."""
        ref, found = node["$ref"], self._root
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise self._bad(f"{where}.$ref", repr(ref), "a place in this schema, such as #/$defs/x")
        for part in ref.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or part not in found:
                raise self._bad(f"{where}.$ref", repr(ref), "a place that this schema has")
            found = found[part]
        return found

    def _ok(self, node):
        return node is True or id(node) in self._satisfied

    def _is_satisfied(self, node):
        """Whether some finite value is known to satisfy `node`."""
        if "$ref" in node:
            return self._ok(self._target(node, ""))
        if "enum" in node or "const" in node:
            return True
        for name in ("anyOf", "oneOf"):
            if name in node:
                return any(self._ok(one) for one in node[name])
        if "allOf" in node and not self._ok(node["allOf"][0]):
            return False
        properties = node.get("properties", {})
        if not all(self._ok(properties[name]) for name in node.get("required", [])):
            return False
        least = node.get("minItems", 0)
        if least > 0 and "items" in node and not self._ok(node["items"]):
            return False
        return all(self._ok(one) for one in node.get("prefixItems", []))
