"""WGSL text of a kernel variant: rendered from `wgsl/` natively, looked up in `rendered.json` in
the browser's wheel."""
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path

REDUCE = "common/reduce"
TEMPLATES = Path(__file__).resolve().parents[2] / "wgsl"


def variant_key(stem, variant):
    """`matvec|glu=0,norm=1,...`: the name of a rendered variant."""
    choices = (f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in sorted(variant.items()))
    return f"{stem}|{','.join(choices)}"


@cache
def every_rendered():
    """The build's rendered variants {key: text}, or None in a source checkout."""
    file = resources.files("pyengine.kernels") / "rendered.json"
    return json.loads(file.read_text()) if file.is_file() else None


@cache
def _environment():
    import jinja2  # natively only: the browser gets rendered text

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(stem, variant):
    """The template's text for one variant, without the constants."""
    text = _environment().get_template(f"{stem}.wgsl").render(**variant)
    return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"


@cache
def _template_text(key, stem, variant_items):
    rendered = every_rendered()
    return rendered[key] if rendered is not None else render(stem, dict(variant_items))


def _constant(name, value):
    if isinstance(value, str):
        return f"alias {name} = {value};"
    if isinstance(value, bool):
        return f"const {name}: bool = {str(value).lower()};"
    if isinstance(value, float):
        return f"const {name}: f32 = {value!r};"
    return f"const {name}: u32 = {value}u;"


def _text(stem, variant):
    return _template_text(variant_key(stem, variant), stem, tuple(sorted(variant.items())))


def wgsl(stem, launch):
    """The complete shader of a launch: what it enables, constants, so that shapes are compile-time
    values, reductions, and the template's text."""
    enables = "".join(f"enable {feature};\n" for feature in launch.features)
    consts = "\n".join(_constant(k, v) for k, v in sorted(launch.constants.items()))
    reductions = ""
    if launch.reduces:
        reductions = _text(REDUCE, {"subgroups": "subgroups" in launch.features})
    return f"{enables}{consts}\n{reductions}{_text(stem, launch.variant)}"


@cache
def version():
    """12 hex digits that change with any kernel's text."""
    rendered = every_rendered()
    if rendered is not None:
        return version_of(rendered)
    return _digest([path.read_text() for path in sorted(TEMPLATES.rglob("*.wgsl"))])


def version_of(rendered):
    """`version()` where the build brings these rendered variants."""
    return _digest([rendered[key] for key in sorted(rendered)])


def _digest(texts):
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()[:12]


def render_all():
    """Every variant of every kernel, `{variant_key: text}`: what the build puts into the wheel."""
    from pyengine.kernels import every_template

    return {
        variant_key(stem, v): render(stem, v)
        for stem, variants in every_template()
        for v in variants
    }
