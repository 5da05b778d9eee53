# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "torch==2.15.0", "torchvision==0.29.2", "grad-cam==1.5.7", "torchcam==0.5.0", "captum==0.9.0", "onnx==1.23.2",
#     "onnxruntime==1.32.0", "numpy", "pillow",
# ]
# ///
"""Compares gradcam with what people use instead, and writes docs/performance.md.

uv run crates/bench/compare.py [--models resnet18,…] [--rounds N] [--runs N] [--family] [--check] [--output FILE]

Needs `cargo build --release -p gradcam-cli -p bench` and a machine that has nothing else to do. Each system is a process of its
own, which lives as long as its model is measured and answers to "so many runs of that"; they are asked in turn, each after a pause, so
that only one computes at a time and all see the machine at the same speed. A ratio is taken within a round; plain inference and
explanations of one engine are asked of one process, because a process has its own luck with memory and cores. Networks are
torchvision's, with weights from a seed; an input is 1x3x224x224.

--family measures every method instead (family.py), and replaces that section of the document alone.

--check exits with 1 where a bound that stands below is missed.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import family

from workers import LAST, RELEASE, ROOT, elsewhere, environment, measure, ours, process, python, quantile

# The most that an explanation may be over plain inference of the same engine.
LAST_STAGE, FIVE_CLASSES = 1.05, 1.1
EARLY = {
    ("resnet50", "layer3"): 1.3,
    ("resnet50", "layer1"): 2.15,
    ("vgg16", "features.22"): 1.3,
    ("vgg16", "features.8"): 2.0,
    ("mobilenet_v2", "features.2"): 3.6,
    ("efficientnet_b0", "features.2"): 3.6,
}
# Network, layer, and the most that opening it may be over the engine's own load: time and peak of memory.
OPENING = [("resnet50", None, 1.3, 1.3), ("resnet50", "layer1", None, 2.3)]
BUILT_IN = "the built-in model"
PHOTOS = {BUILT_IN: ["rten"], "mobilenet_v2": ["onnxruntime", "rten"], "resnet50": ["onnxruntime", "rten"]}
COST_OF_SMALL = (
    "Where a network takes 3 ms an image, as MobileNetV2 does in ONNX Runtime, what an explanation adds shows: by `perf`, "
    "of 12 % more samples 5 are the file system creating a file for each photo, 3 the map's few nodes, which one thread "
    "runs one after the other, and 4 the numbers' way into JSON. One file for all results would take the first away."
)
# The least of inference's speed that explanations of many photos keep, and the most that many images take of the memory of few.
MANY_PHOTOS, MEMORY_OF_MANY = 0.95, 1.1
ENGINES = {"onnxruntime": "ONNX Runtime", "rten": "rten"}
PYTHON = {
    "onnxruntime": "ONNX Runtime inference",
    "torch": "torch inference",
    "torchcam": "TorchCAM",
    "captum": "captum LayerGradCam",
    "pytorch-grad-cam": "pytorch-grad-cam",
}

# The least of our time that others take.
AT_LEAST = (
    {("onnxruntime", "torchcam", model): 1.25 for model in LAST}
    | {("onnxruntime", "torchcam", model): 3.0 for model in ("mobilenet_v2", "efficientnet_b0")}
    | {("onnxruntime", "torchcam", "convnext_tiny"): 1.15}
    | {("onnxruntime", "pytorch-grad-cam", model): 4.0 for model in LAST}
    | {("onnxruntime", "pytorch-grad-cam", "convnext_tiny"): 3.6}
    | {("rten", "pytorch-grad-cam", model): 2.0 for model in LAST}
)
COLD_TIME, COLD_MEMORY, COLD_SIZE = 20, 8, 50


def ratio(above, below):
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return [quantile(pairs, share) for share in (0.5, 0.25, 0.75)]


def shown(spread):
    return f"{spread[0]:.2f} [{spread[1]:.2f}, {spread[2]:.2f}]"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in rows), ""]


class Report:
    def __init__(self):
        self.lines, self.missed = [], []

    def at_most(self, what, got, bound):
        if bound is not None and got > bound:
            self.missed.append(f"{what}: {got:.3f}, at most {bound}")

    def at_least(self, what, got, bound):
        if bound is not None and got < bound:
            self.missed.append(f"{what}: {got:.3f}, at least {bound}")


def last_stage(report, models, folder, rounds, runs):
    speeds, ratios, five = [], [], []
    for name in models:
        path = folder / f"{name}.onnx"
        commands = {system: (python(system, name, path), ["run"]) for system in PYTHON}
        commands |= {("gradcam", engine): (ours(engine, path), ["plain", "argmax", "top:5"]) for engine in ENGINES}
        times = measure(commands, rounds, runs)
        median = {key: f"{quantile(numbers, 0.5):.1f}" for key, numbers in times.items()}
        print(name, {" ".join(map(str, key)): value for key, value in median.items()}, file=sys.stderr)
        speeds.append(
            [name]
            + [median[system, "run"] for system in PYTHON]
            + [median[("gradcam", engine), what] for engine in ENGINES for what in ("plain", "argmax")]
        )
        row, several = [name], [name]
        for engine in ENGINES:
            mine = ("gradcam", engine)
            over = ratio(times[mine, "argmax"], times[mine, "plain"])
            report.at_most(f"{name}, last stage on {engine}", over[0], LAST_STAGE)
            row.append(shown(over))
            over = ratio(times[mine, "top:5"], times[mine, "argmax"])
            report.at_most(f"{name}, five classes on {engine}", over[0], FIVE_CLASSES)
            several.append(shown(over))
        for engine in ENGINES:
            for system in ("torchcam", "captum", "pytorch-grad-cam"):
                over = ratio(times[system, "run"], times[("gradcam", engine), "argmax"])
                report.at_least(f"{name}, {system} over {engine}", over[0], AT_LEAST.get((engine, system, name)))
                row.append(shown(over))
        ratios.append(row)
        five.append(several)
    report.lines += ["## Grad-CAM at the last stage", "", "Median milliseconds of one image.", ""]
    columns = [f"{label}{suffix}" for label in ENGINES.values() for suffix in (" in gradcam, inference", ", **gradcam**")]
    report.lines += table(["network", *PYTHON.values(), *columns], speeds)
    report.lines += [
        "An explanation, which holds the prediction, over plain inference of the same engine; then how much longer "
        "others take than gradcam. Medians of ratios within a round, and their quartiles.",
        "",
    ]
    others = [f"{system} / {label}" for label in ENGINES.values() for system in ("TorchCAM", "captum", "pytorch-grad-cam")]
    report.lines += table(["network", *(f"over inference, {label}" for label in ENGINES.values()), *others], ratios)
    report.lines += ["The maps of the five best classes in one run, over that of the best.", ""]
    report.lines += table(["network", *ENGINES.values()], five)


def deeper(report, models, folder, rounds, runs):
    rows = []
    for (name, layer), most in EARLY.items():
        if name not in models:
            continue
        path = folder / f"{name}.onnx"
        times = measure({engine: (ours(engine, path, "--layer", layer), ["plain", "argmax"]) for engine in ENGINES}, rounds, runs)
        row = [name, layer]
        for engine in ENGINES:
            over = ratio(times[engine, "argmax"], times[engine, "plain"])
            report.at_most(f"{name}, {layer} on {engine}", over[0], most)
            row.append(shown(over))
        print(*row, file=sys.stderr)
        rows.append(row)
    report.lines += ["## Early layers", "", "An explanation over plain inference of the same engine.", ""]
    report.lines += table(["network", "layer", *ENGINES.values()], rows)


def opening(report, models, folder, rounds):
    """Open, differentiate and compile, over the engine's own load of the plain file."""
    rows = []
    for name, layer, most_time, most_memory in OPENING:
        if name not in models:
            continue
        for engine, label in ENGINES.items():
            command = [RELEASE / "bench", folder / f"{name}.onnx", "--engine", engine, "--load", "--pairs", str(rounds)]
            command += ["--layer", layer] if layer else []
            line = subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout
            print(line.strip(), file=sys.stderr)
            numbers = re.search(
                r"([\d.]+) ms and ([\d.]+) MB for an explanation, ([\d.]+) ms and ([\d.]+) MB .* ratios ([\d.]+) and ([\d.]+)", line
            ).groups()
            what = f"{name}, {layer or 'last stage'} on {engine}"
            report.at_most(f"opening {what}, time", float(numbers[4]), most_time)
            report.at_most(f"opening {what}, memory", float(numbers[5]), most_memory)
            rows.append([name, layer or "last stage", label, *numbers])
    report.lines += [
        "## Opening a model",
        "",
        "Read, differentiated and compiled, over the engine's own load of the plain file; each in a process of its own.",
        "",
    ]
    report.lines += table(
        ["network", "layer", "engine", "ms", "peak MB", "engine's own ms", "peak MB", "ratio of times", "of memory"], rows
    )


def photos(report, models, folder):
    """Many photos through the command line, over reading, preparing and inferring them without an explanation."""
    import random

    from PIL import Image

    noise = random.Random(0)
    # Files of a name of their own, because each gets a result of its own; the same few photos, many times.
    paths = [folder / f"{number}.jpg" for number in range(10000)]
    source = Image.open(ROOT / "crates/gradcam-cli/assets/cat_beside_coffee.png").convert("RGB")
    for path in paths[:8]:
        box = [noise.randrange(0, 60) for _ in range(2)]
        source.crop((*box, *(at + 380 for at in box))).resize((640, 480)).save(path, quality=90)
    for number, path in enumerate(paths[8:]):
        os.link(paths[number % 8], path)
    rows = []
    for name in [name for name in PHOTOS if name in [BUILT_IN, *models]]:
        for engine in PHOTOS[name]:
            model = ROOT / "crates/gradcam-cli/assets/efficientnet_lite0.onnx" if name == BUILT_IN else folder / f"{name}.onnx"
            many = paths[:200]
            explain = [RELEASE / "gradcam", "explain", *many, "-m", model, "--engine", engine, "-q", "-o"]
            commands = {
                "plain": [RELEASE / "bench", model, "--engine", engine, "--photos", *many],
                "json": [*explain, "RESULTS", "--format", "json"],
                "png": [*explain, "RESULTS"],
            }
            times = {what: [] for what in commands}
            for _ in range(5):
                for what, command in commands.items():
                    # A new folder: a file system is slow where files were just deleted.
                    results = tempfile.mkdtemp(dir=folder)
                    times[what].append(process([results if word == "RESULTS" else word for word in command])[0])
            speed = [f"{len(many) / quantile(times[what], 0.5):.1f}" for what in commands]
            numbers, drawn = (ratio(times["plain"], times[what]) for what in ("json", "png"))
            report.at_least(f"200 photos, {name} on {engine}", numbers[0], MANY_PHOTOS)
            rows.append([name, ENGINES[engine], *speed, shown(numbers), shown(drawn)])
            print(*rows[-1], file=sys.stderr)
    report.lines += [
        "## Many photos",
        "",
        "200 photos of 640x480 through `gradcam explain`, a caller per core, as images a second; over the same "
        "reading, preparing and inferring without an explanation. *explained* writes a file of JSON for each photo; "
        "*drawn* the usual picture, at the photo's size and compressed.",
        "",
    ]
    report.lines += [COST_OF_SMALL, ""]
    report.lines += table(
        ["network", "engine", "inference alone", "explained", "and drawn", "explained over inference", "drawn over inference"], rows
    )
    few, many = (
        process([RELEASE / "gradcam", "explain", *paths[:count], "--format", "json", "-q", "-o", tempfile.mkdtemp(dir=folder)])[1]
        for count in (100, 10000)
    )
    over = many / few
    report.at_most("memory of 10,000 images over that of 100", over, MEMORY_OF_MANY)
    report.lines += [f"10,000 images in one command take {many:.0f} MB at the peak, 100 of them {few:.0f} MB: {over:.2f}.", ""]
    print("memory", few, many, file=sys.stderr)


COLD = """
import numpy, torch, torchvision
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
net = torchvision.models.efficientnet_b0(weights=None)
net.load_state_dict(torch.load({weights!r}))
net.eval()
photo = Image.open({photo!r}).convert("RGB").resize((224, 224))
pixels = numpy.asarray(photo, dtype=numpy.float32) / 255
x = torch.from_numpy(((pixels - 0.5) / 0.5).transpose(2, 0, 1)[None])
heat = GradCAM(model=net, target_layers=[net.features[-1]])(input_tensor=x, targets=None)[0]
Image.fromarray(show_cam_on_image(pixels, heat, use_rgb=True)).save({picture!r})
"""


def installed(names):
    """Megabytes of Python packages with all that they need."""
    seen, open_names, size = set(), list(names), 0
    while open_names:
        name = re.sub(r"[-_.]+", "-", open_names.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in found.files or []:
            at = found.locate_file(file)
            size += at.stat().st_size if at.is_file() else 0
        open_names += [re.match(r"[\w.-]+", need)[0] for need in found.requires or [] if "extra ==" not in need]
    return size / 1e6


def cold(report, folder, rounds):
    weights, photo = folder / "weights.pt", ROOT / "crates/gradcam-cli/assets/cat_beside_coffee.png"
    elsewhere(f"save_weights('efficientnet_b0', {str(weights)!r})")
    script = folder / "cold.py"
    script.write_text(COLD.format(weights=str(weights), photo=str(photo), picture=str(folder / "cold.png")))
    commands = {"ours": [RELEASE / "gradcam", "explain", photo, "-o", folder / "ours.png"], "theirs": [sys.executable, script]}
    figures = {key: [] for key in commands}
    for turn in range(-1, rounds):
        for key, command in commands.items():
            took = process(command)
            if turn >= 0:
                figures[key].append(took)
    seconds = {key: [figure[0] for figure in of] for key, of in figures.items()}
    memory = {key: [figure[1] for figure in of] for key, of in figures.items()}
    size = {"ours": (RELEASE / "gradcam").stat().st_size / 1e6, "theirs": installed(["torch", "torchvision", "grad-cam"])}
    rows = []
    for what, values, digits, bound in (("seconds", seconds, 3, COLD_TIME), ("peak of memory, MB", memory, 0, COLD_MEMORY)):
        over = ratio(values["theirs"], values["ours"])
        report.at_least(f"cold start, {what}", over[0], bound)
        rows.append([what, *(f"{quantile(values[key], 0.5):.{digits}f}" for key in ("ours", "theirs")), shown(over)])
    over = size["theirs"] / size["ours"]
    report.at_least("installed size", over, COLD_SIZE)
    rows.append(["installed, MB", f"{size['ours']:.0f}", f"{size['theirs']:.0f}", f"{over:.0f}"])
    report.lines += [
        "## One photo, from the command line to the file",
        "",
        "`gradcam explain` with its built-in model, EfficientNet-Lite0, against a script of pytorch-grad-cam with "
        "EfficientNet-B0; the model included in the size of gradcam, not in that of the packages.",
        "",
    ]
    report.lines += table(["", "gradcam", "pytorch-grad-cam", "ratio"], rows)


def machine():
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "torchcam", "captum", "grad-cam", "onnxruntime")
    )
    rten = re.search(r'name = "rten"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text())[1]
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()[1]
    return [
        f"Machine: {cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}.",
        f"Versions: gradcam {gradcam_version()}, rten {rten}, Rust {rust}; Python {platform.python_version()}, {versions}.",
    ]


def gradcam_version():
    return subprocess.run([RELEASE / "gradcam", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def sections(text):
    """A document by its headings."""
    return [part.strip() for part in re.split(r"\n(?=## )", text)]


def of_family(report, rounds):
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / f"{family.NETWORK}.onnx"
        elsewhere(f"export({family.NETWORK!r}, {str(path)!r})")
        return "\n".join([family.HEADING, "", *machine(), "", *family.family(report, path, rounds)[2:]])


def missed(report, check):
    """The exit code, after the bounds that are missed are printed."""
    for bound in report.missed:
        print("missed:", bound, file=sys.stderr)
    return 1 if check and report.missed else 0


def main():
    parser = argparse.ArgumentParser(description="Compares gradcam with what people use instead.")
    parser.add_argument("--models", default=",".join(LAST))
    parser.add_argument("--rounds", type=int, default=15, help="blocks of each system (at least 9 for a claim)")
    parser.add_argument("--runs", type=int, default=3, help="runs of a block")
    parser.add_argument("--family", action="store_true", help="measure every method instead, on ResNet-50")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is missed")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "performance.md")
    args = parser.parse_args()
    models = args.models.split(",")
    report = Report()
    before = args.output.read_text() if args.output.exists() else ""
    if args.family:
        section = of_family(report, args.rounds)
        args.output.write_text(
            "\n\n".join([*(part for part in sections(before) if not part.startswith(family.HEADING)), section]).rstrip() + "\n"
        )
        return missed(report, args.check)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in models:
            elsewhere(f"export({name!r}, {str(folder / (name + '.onnx'))!r})")
        last_stage(report, models, folder, args.rounds, args.runs)
        deeper(report, models, folder, args.rounds, args.runs)
        opening(report, models, folder, args.rounds)
        photos(report, models, folder)
        cold(report, folder, args.rounds)
    command = f"crates/bench/compare.py --models {args.models} --rounds {args.rounds} --runs {args.runs}"
    head = [
        "# Performance",
        "",
        f"Written by `{command}`; with `--check` it fails where a bound in that file is missed. Each system runs in a "
        f"process of its own and all are asked in turn, {args.rounds} times for {args.runs} runs. Networks of "
        "torchvision with weights from a seed, 1x3x224x224, as many threads as cores.",
        "",
        *machine(),
        "",
    ]
    methods = [section for section in sections(before) if section.startswith(family.HEADING)]
    args.output.write_text("\n\n".join(["\n".join(head + report.lines).rstrip(), *methods]).rstrip() + "\n")
    return missed(report, args.check)


if __name__ == "__main__":
    sys.exit(main())
