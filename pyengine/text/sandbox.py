"""A jinja2 environment for templates of strangers: transformers' dialect, with every loop, call and
size paid for.

jinja2's sandbox stops attribute escapes, but neither endless work nor huge values. Here a render
has a budget: loop items, calls and filters cost steps, and values cost their size, which is checked
before an operation that multiplies. The places to check are found in the parsed template. jinja2 is
imported on first use, as it costs start-up time.
"""

import functools
import json
from datetime import datetime

MAX_STEPS = 2_000_000
MAX_SIZE = 16_000_000  # characters and items of a value, of a call's arguments, of the output
MAX_RANGE = 100_000
CALL_STEPS = 4
_CONTAINERS = (list, tuple, dict, set, frozenset)
# Results of these can be as long as the product of their arguments, not just the sum.
_MULTIPLIES = frozenset(
    "join format format_map indent wordwrap center ljust rjust zfill expandtabs translate batch "
    "slice truncate tojson round xmlattr".split()
)


class Budget:
    """Steps left for one render; its methods raise OverflowError when a limit is passed."""

    def __init__(self):
        self.reset()

    def reset(self):
        self._left = MAX_STEPS
        # id -> (container, weight): containers are shared and, in the sandbox, never change.
        self._weights = {}

    def spend(self, steps=1):
        self._left -= steps
        if self._left < 0:
            raise OverflowError(f"the template does more than {MAX_STEPS} steps of work")

    def weight(self, value):
        """Characters and items that `value` would print; shared parts count as often as they would
        print."""
        if isinstance(value, (str, bytes)):
            return len(value)
        if isinstance(value, int) and value.bit_length() > 4096:
            raise OverflowError("a number in the template has more than 4096 bits")
        if not isinstance(value, _CONTAINERS):
            if type(value).__name__ != "Namespace":
                return 1
            # Printing a namespace shows its attributes.
            return sum(map(self.weight, value._Namespace__attrs.values())) + 1
        known = self._weights.get(id(value))
        if known is None:
            self.spend(len(value))
            parts = value.values() if isinstance(value, dict) else value
            total = (
                sum(map(self.weight, parts))
                + len(value)
                + (sum(map(self.weight, value)) if isinstance(value, dict) else 0)
            )
            known = self._weights[id(value)] = value, total
        return known[1]

    def sized(self, value):
        """`value`, once its size is within bounds and paid for."""
        weight = self.weight(value)
        if weight > MAX_SIZE:
            raise OverflowError(
                f"a value in the template has {weight} elements, at most {MAX_SIZE} are allowed"
            )
        self.spend(1 + weight // 64)
        return value

    def items(self, iterable):
        for item in iterable:
            self.spend()
            yield item

    def arguments(self, name, values):
        """The arguments of the filter or string method `name`, iterators made lists, once they are
        paid for."""
        values = [list(self.items(v)) if hasattr(v, "__next__") else v for v in values]
        for value in values:
            self.sized(value)
        if values and self._product(name, values[0], values[1:]) > MAX_SIZE:
            raise OverflowError(f"the result of {name} in the template is too large")
        return values

    def _product(self, name, subject, others):
        factors = [abs(v) if isinstance(v, int) else self.weight(v) for v in others]
        if name == "replace" and len(others) > 1 and isinstance(others[0], str):
            return str(subject).count(others[0]) * factors[1]
        if name not in _MULTIPLIES or not factors:
            return 0
        text = isinstance(subject, str)
        if name == "join" and text:  # the method: "separator".join(items)
            return len(others[0]) * len(subject) if hasattr(others[0], "__len__") else 0
        if name.startswith("format"):
            widths = [int(run) for run in _numbers(subject)] if text else []
            return max(
                [(subject.count("%") + subject.count("{")) * max(factors) if text else 0, *widths]
            )
        return (len(subject) if hasattr(subject, "__len__") else 1) * max(factors)

    def guard(self, name, function):
        """The filter `function` with its arguments and its result checked."""
        # Some filters take jinja2's context before their own arguments.
        skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)  # keeps jinja2's mark for that
        def guarded(*args, **kwargs):
            values = self.arguments(name, [*args[skipped:], *kwargs.values()])
            count = len(args) - skipped
            result = function(*args[:skipped], *values[:count], **dict(zip(kwargs, values[count:])))
            return self.sized(result)

        return guarded


def _numbers(text):
    """Runs of digits in `text`, the longest ones cut: widths and precisions of a format."""
    return [
        run[:20] for run in "".join(c if c.isascii() and c.isdigit() else " " for c in text).split()
    ]


def bounded_range(*args):
    """`range`, refusing more than 100,000 items."""
    values = range(*args)
    if len(values) > MAX_RANGE:
        raise OverflowError(f"range({', '.join(map(str, args))}) is longer than {MAX_RANGE}")
    return values


def _raise_exception(message):
    from jinja2 import TemplateError

    raise TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """As transformers: no HTML escapes, no ASCII escapes."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(pattern):
    return datetime.now().strftime(pattern)


class _Rules:
    """What the environment adds to jinja2's sandbox: checks put into parsed templates and calls."""

    def _parse(self, source, name, filename):
        from jinja2 import nodes

        tree = super()._parse(source, name, filename)
        for node in list(tree.find_all(nodes.Node)):
            if isinstance(node, nodes.For):
                node.iter = self._through("_items", node.iter, node)
            elif isinstance(node, (nodes.AssignBlock, nodes.FilterBlock)):
                node.filter = self._through("_sized", node.filter, node)
            elif isinstance(node, nodes.Operand):
                node.expr = self._through("_sized", node.expr, node)
            elif isinstance(node, nodes.Concat):
                node.nodes = [self._through("_sized", part, node) for part in node.nodes]
        return tree

    def _through(self, name, value, node):
        from jinja2 import nodes

        return nodes.Filter(value, name, [], [], None, None, lineno=node.lineno).set_environment(
            self
        )

    def call_binop(self, context, operator, left, right):
        _check_binop(self.budget, operator, left, right)
        return self.budget.sized(super().call_binop(context, operator, left, right))

    def call(self, context, obj, *args, **kwargs):
        method = getattr(obj, "__wrapped__", obj)  # jinja2 wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            values = self.budget.arguments(method.__name__, [owner, *args, *kwargs.values()])
            args = values[1 : len(args) + 1]  # an iterator is a list by now
        self.budget.spend(CALL_STEPS)
        return self.budget.sized(super().call(context, obj, *args, **kwargs))

    def getitem(self, obj, argument):
        value = super().getitem(obj, argument)
        return self.budget.sized(value) if isinstance(argument, slice) else value


@functools.cache
def _classes():
    """(environment class, generation-tag extension), made when jinja2 is first needed."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's part for training; here its body is simply
        rendered."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class Environment(_Rules, ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "%", "+"))

    return Environment, Generation


def _check_binop(budget, operator, left, right):
    if operator == "*":
        for a, b in ((left, right), (right, left)):
            if (
                isinstance(a, (str, bytes, list, tuple))
                and isinstance(b, int)
                and budget.weight(a) * b > MAX_SIZE
            ):
                raise OverflowError(f"a repetition of {len(a)} elements {b} times is too large")
    if operator == "**" and not (abs(left) <= 1_000_000 and abs(right) <= 64):
        raise OverflowError(f"{left} ** {right} is out of bounds")
    if operator == "%" and isinstance(left, str):
        budget.arguments("format", [left, *(right if isinstance(right, tuple) else (right,))])


def make_environment():
    """A sandboxed environment with its `budget`: reset that before each `from_string` and
    render."""
    environment_class, generation = _classes()
    environment = environment_class(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,
        extensions=[generation, "jinja2.ext.loopcontrols"],
    )
    budget = environment.budget = Budget()
    environment.finalize = budget.sized
    environment.filters["tojson"] = _tojson
    environment.filters = {
        name: budget.guard(name, function) for name, function in environment.filters.items()
    }
    environment.filters |= {"_items": budget.items, "_sized": budget.sized}
    environment.tests = {
        name: budget.guard(name, function) for name, function in environment.tests.items()
    }
    del environment.globals["lipsum"]
    environment.globals |= {
        "range": bounded_range,
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
    }
    return environment
