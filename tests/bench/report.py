"""Turns a run's JSON into the tables of docs/performance.md. Standard library only.

The text between `<!-- bench NAME -->` and `<!-- /bench NAME -->` is made here and replaced as a
whole; everything else in the page is written by hand and kept.
"""

import re
from statistics import median

TITLES = {
    "jird": "Jird",
    "wllama": "wllama",
    "wllama-wasm": "wllama (WASM asked for)",
    "transformers-webgpu": "transformers.js",
    "transformers-jspi": "transformers.js (JSPI build)",
    "transformers-wasm": "transformers.js (WASM asked for)",
}
NONE = "-"


def number(value, unit=""):
    """Three or four digits, thousands grouped; `-` for None."""
    if value is None:
        return NONE
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text + unit


def megabytes(value):
    """Bytes as MB."""
    return NONE if value is None else f"{value / 1e6:,.0f} MB"


def peers(result):
    """{peer: measures} of the compare page, in the run's order."""
    return {name: found for name, found in result["results"].items() if name in TITLES}


def lengths(found, measure):
    """Lengths of a measure (`decode`, `prefill`) that any peer has, ascending."""
    return sorted(
        {
            int(key.split(".")[1])
            for measures in found.values()
            for key in measures
            if key.startswith(measure + ".")
        }
    )


def cell(measures, key, field):
    """A figure, or why there is none."""
    value = measures.get(key)
    if value is None:
        return "failed" if "failed" in measures else NONE
    if value.get(field) is None:
        return value.get("failed", NONE)
    shown = number(value[field])
    return f"{shown} ({value['failed']})" if "failed" in value else shown


def rows_of(found):
    """[(label, {peer: text})] of the comparison."""

    def each(pick):
        return {name: pick(measures) for name, measures in found.items()}

    info = {name: measures.get("info", {}) for name, measures in found.items()}
    rows = [
        ("version", {name: i.get("version", NONE) for name, i in info.items()}),
        ("path", {name: i.get("path", NONE) for name, i in info.items()}),
        (
            "load to ready, s",
            each(lambda m: number(m["load"]["ms"] / 1000) if "load" in m else NONE),
        ),
        (
            "first answer of all: 64 tokens to the first, ms",
            each(lambda m: number(m["first_answer"]["ttft_ms"]) if "first_answer" in m else NONE),
        ),
    ]
    for length in lengths(found, "prefill"):
        key = f"prefill.{length}"
        rows.append(
            (f"time to first token of {length}, ms", each(lambda m, k=key: cell(m, k, "ttft_ms")))
        )
        rows.append((f"prefill of {length}, tok/s", each(lambda m, k=key: cell(m, k, "tps"))))
        rows.append(
            (
                f"prefill of {length}, the first such, tok/s",
                each(lambda m, k=key: cell(m, k, "first_tps")),
            )
        )
    for length in lengths(found, "decode"):
        rows.append(
            (
                f"decode at context {length}, tok/s",
                each(lambda m, k=f"decode.{length}": cell(m, k, "tps")),
            )
        )
    rows += [
        ("peak memory, page's process", each(lambda m: peak(m, "renderer"))),
        ("peak memory, GPU process", each(lambda m: peak(m, "gpu-process"))),
        ("GPU's own memory, more than before the load", each(vram)),
        ("page's heaps afterwards", each(heap)),
        ("told by the peer", each(told)),
    ]
    return rows


def peak(measures, kind):
    return megabytes((measures.get("processes") or {}).get(kind))


def vram(measures):
    before, after = measures.get("vram_mb.browser"), measures.get("vram_mb.memory")
    return NONE if None in (before, after) else f"{after - before:,} MiB"


def heap(measures):
    found = measures.get("heap") or {}
    return megabytes(found.get("page") or found.get("js_heap"))


def told(measures):
    """What the peer itself reports of its memory, as one figure."""
    memory = measures.get("memory") or {}
    if "gpu" in memory:
        return f"{megabytes(memory['gpu']['total'])} on the GPU"
    sizes = [
        float(size)
        for line in memory.get("reported", [])
        for size in re.findall(r"buffer size =\s*([\d.]+) MiB", line)
    ]
    return f"{megabytes(sum(sizes) * (1 << 20))} of buffers" if sizes else NONE


def ratio_row(found):
    """Jird's decode speed over each peer's, at the smallest context that both have."""
    own, texts = found.get("jird", {}), {}
    for name, measures in found.items():
        texts[name] = NONE
        for length in lengths(found, "decode"):
            ours, theirs = (m.get(f"decode.{length}", {}).get("tps") for m in (own, measures))
            if ours and theirs and name != "jird":
                texts[name] = f"{number(ours / theirs)}x (context {length})"
                break
    return "Jird's decoding is", texts


def table(header, rows):
    """A Markdown table; rows are lists of text."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def compare_table(result):
    """The comparison; a peer that could not run has its reason below."""
    found = peers(result)
    ran = {name: measures for name, measures in found.items() if set(measures) - {"failed"}}
    rows = [*rows_of(ran), ratio_row(ran)]
    text = table(
        ["", *(TITLES[name] for name in ran)],
        [[label, *(texts[name] for name in ran)] for label, texts in rows],
    )
    reasons = [
        f"- {TITLES[name]}: {measures['failed']}"
        for name, measures in found.items()
        if "failed" in measures
    ]
    return "\n\n".join([text, *(["\n".join(reasons)] if reasons else [])])


def limits_of(result):
    """Figures of the limits page, or None."""
    page = result["results"].get("limits", {})
    return None if "failed" in page else page.get("figures")


def limit_ms(limits, nbytes, dispatches):
    """Least time of a token in ms: its bytes read once, plus its dispatches one after the other."""
    return nbytes / limits["read_gb_s"] / 1e6 + dispatches * limits["dispatch_us"] / 1e3


def limits_text(result):
    """The limits, and Jird's decoding beside them."""
    limits = limits_of(result)
    if not limits:
        failed = result["results"].get("limits", {}).get("failed", "no answer")
        return f"The limits page gave no figures: {failed}."
    rows = [
        ["a dependent dispatch", number(limits["dispatch_us"], " us")],
        ["encoding a dispatch", number(limits["encode_us"], " us")],
        ["reading a large buffer", number(limits["read_gb_s"], " GB/s")],
        ["a submit, until the GPU is done", number(limits["submit_ms"], " ms")],
        ["a readback of 16 bytes", number(limits["readback_ms"], " ms")],
        ["upload in 4 MB pieces", number(limits["upload_gb_s"], " GB/s")],
    ]
    return "\n\n".join([table(["limit", "measured"], rows), *share_of_limit(result, limits)])


def share_of_limit(result, limits):
    """[one sentence per context: measured decoding, and the limit it is a share of]."""
    jird = result["results"].get("jird", {})
    bytes_of, sentences = (jird.get("memory") or {}).get("gpu"), []
    dispatches = jird.get("info", {}).get("dispatches_per_token")
    for length in lengths({"jird": jird}, "decode") if bytes_of and dispatches else []:
        tps = jird[f"decode.{length}"].get("tps")
        if not tps:
            continue
        read_ms = limit_ms(limits, bytes_of["weights"], 0)
        best = limit_ms(limits, bytes_of["weights"], dispatches)
        weights, rate = megabytes(bytes_of["weights"]), bytes_of["weights"] * tps / 1e9
        share = dispatches * limits["dispatch_us"] * tps / 1e4
        sentences.append(
            f"- Decode at context {length}: {number(tps)} tok/s, {number(1000 / tps)} ms a token, "
            f"is {tps * best / 10:.0f}% of the limit of {number(best)} ms: {weights} of weights in "
            f"{number(read_ms)} ms and {dispatches} dispatches in {number(best - read_ms)} ms. "
            f"Weights are read at {number(rate)} GB/s; dispatches alone are {share:.0f}% of a "
            "token."
        )
    return ["\n".join(sentences)] if sentences else []


def scaling_models(result):
    """{model: figures} of the scaling page, those with at least one context."""
    found = result["results"].get("scaling", {})
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, dict) and value.get("decode_ms")
    }


def scaling_text(result):
    """Decode time by model and context, with the slope beside what its bytes would cost."""
    models, limits = scaling_models(result), limits_of(result)
    if not models:
        return "The scaling page gave no figures."
    contexts = sorted({int(c) for value in models.values() for c in value["decode_ms"]})
    rows = []
    for name, value in models.items():
        times = [value["decode_ms"].get(str(c)) for c in contexts]
        kv = value["bytes"]["kv"] / value["context"]
        slope = slope_us(value["decode_ms"])
        least = (
            limit_ms(limits, value["bytes"]["weights"], value["dispatches_per_token"])
            if limits
            else None
        )
        rate = kv / slope / 1e3 if slope else None
        rows.append(
            [
                name,
                megabytes(value["bytes"]["weights"]),
                value["dispatches_per_token"],
                *(number(t) for t in times),
                number(least),
                f"{kv / 1e3:.1f} kB",
                number(slope),
                number(rate),
            ]
        )
    header = [
        "random weights",
        "weights",
        "dispatches",
        *(f"ms at {c}" for c in contexts),
        "limit, ms",
        "KV a position",
        "us a position",
        "KV read, GB/s",
    ]
    failed = [
        f"- {name.removesuffix('.failed')}: {value}"
        for name, value in result["results"]["scaling"].items()
        if name.endswith(".failed")
    ]
    return "\n\n".join(
        [table(header, rows), *(["\n".join(failed)] if failed else []), size_slope(models)]
    )


def slope_us(times):
    """Microseconds that a decoded token takes more for each position of context: the median slope
    between two contexts (Theil and Sen), which one disturbed run does not move."""
    points = [(int(c), t) for c, t in times.items()]
    slopes = [(u - t) / (d - c) for c, t in points for d, u in points if c < d]
    return 1000 * median(slopes) if slopes else None


def start_ms(times):
    """Milliseconds a token without any context, by that slope."""
    slope = (slope_us(times) or 0.0) / 1000
    return median(t - slope * int(c) for c, t in times.items())


def size_slope(models):
    """A sentence: what of the time without context belongs to the weights' bytes, what to the
    dispatches, by least squares over the models."""
    rows = [(v["dispatches_per_token"], v["bytes"]["weights"] / 1e9, start_ms(v["decode_ms"]))
            for v in models.values()]
    dd, dw, ww = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    dt, wt = (sum(r[i] * r[2] for r in rows) for i in (0, 1))
    over = dd * ww - dw * dw
    if over <= 1e-9 * dd * ww:
        return "Models of one size alone tell nothing of sizes."
    each, slope = (dt * ww - wt * dw) / over, (wt * dd - dt * dw) / over
    rate = f" ({number(1000 / slope)} GB/s)" if slope > 0 else ""
    off = max(abs(each * d + slope * w - t) / t for d, w, t in rows)
    return (
        f"Without context a token takes {number(1000 * each)} us for each dispatch and"
        f" {number(slope)} ms for each GB of weights{rate}, which is within {100 * off:.0f}% of"
        " every model."
    )


def heading(result):
    """Machine, browser, flags, commit."""
    machine, kit, o = result["machine"], result["kit"], result["options"]
    agent = next(
        (
            m["browser"]["user_agent"]
            for m in result["results"].values()
            if isinstance(m.get("browser"), dict)
        ),
        "",
    )
    chrome = re.search(r"(?:Chrom\w*)/(\d+)", agent)
    gpu = machine.get("gpu") or adapter(result)
    return "\n\n".join(
        [
            f"{result.get('label') or machine['cpu']}: {gpu}, {machine['cores']} cores "
            f"({machine['cpu']}), Chromium {chrome[1] if chrome else '?'}, {machine['date']}, "
            f"commit "
            f"{kit['commit']}; medians of {o['repeats']}, {o['tokens']} tokens a decoding run, "
            f"limit {o['limit']} s a run.",
            f"    {o['browser']}",
        ]
    )


def adapter(result):
    """The WebGPU adapter as the browser names it."""
    for measures in result["results"].values():
        found = (
            (measures.get("browser") or {}).get("adapter") if isinstance(measures, dict) else None
        )
        if found:
            return " ".join(filter(None, (found["vendor"], found["architecture"], found["device"])))
    return "no WebGPU adapter"


def section(result, name, images=()):
    """All of a run as Markdown, for between the markers `name`."""
    parts = [heading(result)]
    if peers(result):
        parts += ["### Against the peers", compare_table(result)]
    if "limits" in result["results"]:
        parts += ["### Physical limits", limits_text(result)]
    if "scaling" in result["results"]:
        parts += ["### Scaling", scaling_text(result)]
    parts += [f"![{image}](bench/{image})" for image in images]
    return "\n\n".join([*parts, f"All figures: `docs/bench/{name}.json`."])


def replace(page, name, text):
    """`page` with the text between the markers of `name` replaced; added at the end when absent."""
    begin, end = f"<!-- bench {name} -->", f"<!-- /bench {name} -->"
    block = f"{begin}\n{text}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    if end not in page or page.index(end) < page.index(begin):
        raise ValueError(f"the page has {begin} without {end} behind it")
    return page[: page.index(begin)] + block + page[page.index(end) + len(end) :]
