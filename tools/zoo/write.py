"""docs/models.md from the rows of the comparison."""

import json
import re
from pathlib import Path

ENGINES = {"onnxruntime": "ONNX Runtime", "rten": "rten"}
BOUND = 1e-3


# Where the graph that the engine got was run in float64 and compared with the float64 of the framework.
IN_FLOAT64 = {
    (
        "skresnet18",
        "torch legacy",
        "rten",
    ): "; the same graph in float64 agrees to 6e-06, which is the file's folded norms: a rectifier within float32's rounding of zero"
}


def allowed(row, which):
    """A thousandth of the largest entry, or three times what float32 of the framework itself is from its float64."""
    return max(BOUND, 3 * row["framework_f32"].get(which, 0))


def verdict(row, engine):
    """True, or why the row does not agree on this engine."""
    found = row["engines"].get(engine, {})
    for which in ("default", "early"):
        value = found.get(which)
        if isinstance(value, str):
            return f"{which} layer: {short(value)}"
        if value is not None and value > allowed(row, which):
            return f"{which} layer: {value:.1e} from the framework, whose float32 is {row['framework_f32'][which]:.1e} from its float64"
    return True if found.get("default") is not None else "no layer was explained"


def short(text):
    text = re.sub(r"\x1b\[\d*m", "", text)
    text = re.sub(r"/\S+/(\w+\.onnx)", r"\1", text)  # without its folder
    text = " ".join(text.replace("gradcam: ", "").replace("|", "/").split())
    return text if len(text) <= 220 else text[:217] + "…"


def number(value):
    return "–" if value is None else "refused" if isinstance(value, str) else f"{value:.0e}"


def table(rows):
    yield "| model | exporter | nodes | default layer | scores | default | early layer | early | float32 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        both = lambda key, row=row: " / ".join(number(row["engines"].get(engine, {}).get(key)) for engine in ENGINES)
        own = " / ".join(number(row["framework_f32"].get(which)) for which in ("default", "early"))
        cells = [
            row["model"] + " *" * row.get("older", False),
            row["exporter"],
            str(row["nodes"]),
            f"`{row['default_layer']}`",
            both("forward"),
            both("default"),
            f"`{row['early_layer']}`",
            both("early"),
            own,
        ]
        yield "| " + " | ".join(cells) + " |"


def families():
    from zoo.tiny import TINY

    yield "| family | default layer of a small one | why |"
    yield "|---|---|---|"
    for _, family, why, _, _, default, *_ in TINY:
        name = default if isinstance(default, str) else default["legacy"]
        yield f"| {family} | `{name}` | {why} |"


def read(files):
    rows = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
    return {(row["source"], row["model"], row["exporter"]): row for row in rows}


def write(files, older=()):
    """The document from the rows of files, and from older ones where these have none."""
    new, old = read(files), read(older)
    rows = list(new.values()) + [row | {"older": True} for key, row in old.items() if key not in new]
    aged = sum(row.get("older", False) for row in rows)
    rows.sort(key=lambda row: (row["source"], row["model"], row["exporter"]))
    failed = [row for row in rows if row.get("export_error")]
    unrun = [row for row in rows if row.get("runtime_error")]
    counted = [row for row in rows if row not in failed and row not in unrun]
    agree = {engine: [row for row in counted if verdict(row, engine) is True] for engine in ENGINES}
    refused = [row for row in counted if verdict(row, "rten") is not True and "cannot run" in verdict(row, "rten")]
    share = lambda engine: f"{len(agree[engine])} ({100 * len(agree[engine]) / len(counted):.1f} %)"
    from zoo.names import FIRST_RUN, HELD_OUT, MODELS

    tried = {(row["source"], row["model"]) for row in rows}
    missing = [name for source, name in MODELS if (source, name) not in tried]
    lines = [
        "<!-- Written by `python tools/model_zoo.py write`; the rows come from `model_zoo.py run`. -->",
        "# Models that were tried",
        "",
        f"{len(rows)} files of {len({(row['source'], row['model']) for row in rows})} models, each with random weights from a seed. "
        f"{len(failed)} are not exported by their exporter and {len(unrun)} do not run in ONNX Runtime; {len(counted)} count. "
        "The raw maps of Grad-CAM and HiResCAM, at the default layer and at an early one, agree with the float64 "
        f"gradients of the framework in {share('onnxruntime')} of them on ONNX Runtime and in {share('rten')} on rten, "
        f"which refuses {len(refused)} by name. Why the others do not is said below.",
        "",
        "A row agrees where the larger of the two maps' differences is at most 0.001 of the map's largest entry, or "
        "three times what the framework's own float32 is from its float64. "
        "*scores*, *default* and *early* are the differences on ONNX Runtime / rten; *float32* is that of the "
        "framework at the default / early layer. "
        "The early layer is the block a third of the way in, addressed by the framework's own name for it; its input "
        "image is the first of eight at which changes of some millionths flip few rectifiers.",
        "",
        "Float32 has many answers, and *float32* is the farthest of these: the image and two that differ in its last "
        "bits, each with the model as it is and with its batch norms folded into its convolutions in float32, "
        "and in torch also other kernels (without oneDNN). Exporters fold norms so, and round weights by it: the "
        "float64 map of such a file is as far from the framework's float64 as the framework's own with folded norms. "
        "Folded norms count only where in float64 they give the same maps to a billionth. "
        "Random weights make this harder than trained ones: maps are noise, and a single rectifier whose input is "
        "within rounding of zero can move an early map by a hundredth of its largest entry.",
        "",
        f"{len(set(HELD_OUT))} of the models ({FIRST_RUN['files']} files that were exported) were drawn at random from "
        "what the rest of the list does not have, and looked at by nobody before they were first run: "
        f"{FIRST_RUN['onnxruntime']} agreed then on ONNX Runtime and {FIRST_RUN['rten']} on rten. {FIRST_RUN['others']}",
        "",
        *(
            [f"The {aged} rows with a * are of an earlier run, whose *float32* has neither folded norms nor other kernels in it.", ""]
            if aged
            else []
        ),
        "Torch 2.15 itself computes a wrong gradient of a batch norm in evaluation mode from a cotangent with "
        "transposed strides, on a CPU, in float32 and float64: finite differences of its own forward pass and gradcam "
        "agree with each other there. "
        "The comparison gives batch norms contiguous cotangents, which puts it right.",
        "",
        "## Default layers",
        "",
        "Without `--layer` the map is made at:",
        "",
        *families(),
        "",
        "The tests explain these small models, as both exporters of torch write them, at the default layer and at an early one.",
        "",
        "## What does not agree",
        "",
        "| model | exporter | engine | why |",
        "|---|---|---|---|",
    ]
    for row in counted:
        for engine, name in ENGINES.items():
            why = verdict(row, engine)
            if why is not True:
                why += IN_FLOAT64.get((row["model"], row["exporter"], engine), "")
                lines.append(f"| {row['model']} | {row['exporter']} | {name} | {why} |")
    lines += [
        "",
        "## What is not exported, or does not run",
        "",
        "| model | exporter | what the exporter or ONNX Runtime says |",
        "|---|---|---|",
    ]
    for row in failed + unrun:
        lines.append(f"| {row['model']} | {row['exporter']} | {short(row.get('export_error') or row['runtime_error'])} |")
    if missing:
        lines += ["", f"Of the pinned list {len(missing)} models have not been compared yet: {', '.join(missing)}."]
    for source in sorted({row["source"] for row in counted}):
        lines += ["", f"## {source}", "", *table([row for row in counted if row["source"] == source])]
    return "\n".join(lines) + "\n"
