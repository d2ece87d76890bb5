"""Plots of a run's JSON with matplotlib: `python plots.py result.json FOLDER NAME` writes SVGs.

    NAME-peers.svg     decode and prefill by length, one bar a peer
    NAME-scaling.svg   decode time against context, one line a model, and against weight bytes

Prints the names of the files that it wrote, one a line.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import report  # noqa: E402

plt.rcParams.update(
    {"svg.hashsalt": "jird", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)
COLOURS = {
    "jird": "#c2410c",
    "wllama": "#0369a1",
    "wllama-wasm": "#7dd3fc",
    "transformers-webgpu": "#4d7c0f",
    "transformers-jspi": "#65a30d",
    "transformers-wasm": "#bef264",
}


def bars(axes, found, measure, title):
    """One group of bars a length, one bar a peer that has a figure."""
    lengths = report.lengths(found, measure)
    width = 0.8 / max(len(found), 1)
    for i, (name, measures) in enumerate(found.items()):
        figures = [measures.get(f"{measure}.{n}", {}).get("tps") for n in lengths]
        places = [k + i * width for k, tps in enumerate(figures) if tps]
        drawn = axes.bar(
            places,
            [tps for tps in figures if tps],
            width,
            color=COLOURS[name],
            label=report.TITLES[name],
        )
        axes.bar_label(drawn, fmt=lambda v: report.number(v), fontsize=6, padding=1)
    axes.set_xticks([k + 0.4 - width / 2 for k in range(len(lengths))], lengths)
    axes.set_yscale("log")
    axes.set(title=title, ylabel="tokens a second")


def peers(result):
    """Figure of the comparison, or None."""
    found = {
        name: m for name, m in report.peers(result).items() if report.lengths({name: m}, "decode")
    }
    if not found:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    bars(left, found, "decode", "decode, by context")
    bars(right, found, "prefill", "prefill, by prompt length")
    left.legend(fontsize=7)
    return figure


def scaling(result):
    """Figure of the scaling study, or None."""
    models = report.scaling_models(result)
    if not models:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    limits = report.limits_of(result)
    for name, value in models.items():
        points = sorted((int(c), ms) for c, ms in value["decode_ms"].items())
        left.plot(*zip(*points, strict=True), marker="o", label=name)
        size = value["bytes"]["weights"] / 1e6
        right.plot(size, points[0][1], "o", color="#c2410c")
        right.annotate(
            name, (size, points[0][1]), fontsize=7, xytext=(4, 4), textcoords="offset points"
        )
        if limits:
            least = report.limit_ms(
                limits, value["bytes"]["weights"], value["dispatches_per_token"]
            )
            right.plot(size, least, "_", color="#0369a1", markersize=14)
    left.set(title="a decoded token against the context", xlabel="context", ylabel="ms")
    right.set(title="against the weights (bar: the limit)", xlabel="MB of weights", ylabel="ms")
    left.set_ylim(bottom=0)
    right.set_ylim(bottom=0)
    left.legend(fontsize=7)
    return figure


def main(source, folder, name):
    result = json.loads(Path(source).read_text())
    for kind, draw in (("peers", peers), ("scaling", scaling)):
        figure = draw(result)
        if figure:
            target = Path(folder) / f"{name}-{kind}.svg"
            figure.savefig(target, metadata={"Date": None})
            print(target.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
