"""Which format a model's calls have."""

from app.tools import gemma, hermes, lfm2, llama, qwen_xml

# What a template says when its model was taught a format; the first that is found counts.
_SIGNS = (
    ("<|tool_call_start|>", lfm2),
    ("<|tool_list_start|>", lfm2),
    ("<function=", qwen_xml),
    ("<tool_call>", hermes),
    ("<|python_tag|>", llama),
    ("Environment: ipython", llama),
    ("tool_code", gemma),
)
_FAMILIES = (("lfm2", lfm2), ("qwen3_5", qwen_xml), ("gemma", gemma))

# Tokens that text leaves out, as they are special, but that parsers must see.
VISIBLE = (lfm2.START, lfm2.END, llama.TAG, "<tool_call>", "</tool_call>")


def format_of(template, family):
    """The module (`Parser`, `write`) for a model by its template's text, else by its `model_type`,
    else Hermes, which the prompt of `app/tool_calls.py` then teaches."""
    for sign, module in _SIGNS:
        if sign in template:
            return module
    for prefix, module in _FAMILIES:
        if family.startswith(prefix):
            return module
    return hermes
