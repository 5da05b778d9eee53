"""The part of compare.py that measures every method: at the last stage of ResNet-50, one image, in ONNX Runtime.

It writes the costs that docs/methods.md and `gradcam methods` show, crates/gradcam/src/method/costs.rs, and its section of
docs/performance.md.
"""

import json
import subprocess
import sys

from workers import RELEASE, ROOT, Worker, ours, python, quantile

COSTS = ROOT / "crates/gradcam/src/method/costs.rs"
NETWORK = "resnet50"
HEADING = "## The methods"
# A method that takes longer, in milliseconds, is measured twice; one that takes ten times as long, once, without a warm-up.
LONG = 3000

# The class of each library that computes the method, and the library's name.
PEERS = {
    "gradcam": "pytorch-grad-cam GradCAM",
    "hirescam": "pytorch-grad-cam HiResCAM",
    "gradcam-elementwise": "pytorch-grad-cam GradCAMElementWise",
    "gradcam++": "pytorch-grad-cam GradCAMPlusPlus",
    "refinecam": "pytorch-grad-cam RefineCAM",
    "smoothgradcam++": "torchcam SmoothGradCAMpp",
    "xgradcam": "pytorch-grad-cam XGradCAM",
    "layercam": "pytorch-grad-cam LayerCAM",
    "shapleycam": "pytorch-grad-cam ShapleyCAM",
    "finercam": "pytorch-grad-cam FinerCAM",
    "cam": "torchcam CAM",
    "randomcam": "pytorch-grad-cam RandomCAM",
    "eigencam": "pytorch-grad-cam EigenCAM",
    "eigengradcam": "pytorch-grad-cam EigenGradCAM",
    "segeigencam": "pytorch-grad-cam SegEigenCAM",
    "kpcacam": "pytorch-grad-cam KPCA_CAM",
    "fem": "pytorch-grad-cam FEM",
    "ablationcam": "pytorch-grad-cam AblationCAM",
    "scorecam": "pytorch-grad-cam ScoreCAM",
    "occlusion": "captum Occlusion",
    "saliency": "captum Saliency",
    "smoothgrad": "captum NoiseTunnel",
    "integrated-gradients": "captum IntegratedGradients",
    "guided-backprop": "captum GuidedBackprop",
    "guided-gradcam": "captum GuidedGradCam",
    "fullgrad": "pytorch-grad-cam FullGrad",
}

# The layers of methods that take several.
LAYERS = {"refinecam": ["--layer", "layer3", "--layer", "layer4"]}

# The most inferences that a method may cost, and the least of our time that its peer takes.
AT_MOST = {
    "gradcam": 1.05,
    "hirescam": 1.1,
    "gradcam-elementwise": 1.1,
    "gradcam++": 1.1,
    "xgradcam": 1.1,
    "layercam": 1.1,
    "fem": 1.2,
    "eigencam": 1.15,
    "eigengradcam": 1.2,
    "segeigencam": 1.2,
    "ablationcam": 1.5,
    "reciprocam": 2.0,
}
AT_LEAST = {"scorecam": 1.3, "ablationcam": 100}


def timed(worker, what, rounds):
    """Milliseconds of rounds, in which an inference comes before what is asked for."""
    return rounds_of(lambda: (worker.median("plain", 3), worker.median(what, 1)), rounds)


def rounds_of(measured, rounds):
    """Tuples of milliseconds, what may take long at the end; the first round warms up."""
    kept = []
    for turn in range(-1, rounds):
        times = measured()
        if turn >= 0 or times[-1] > 10 * LONG:
            kept.append(times)
        if times[-1] > 10 * LONG or (times[-1] > LONG and turn >= 1):
            break
    return kept


def theirs(peer, path, rounds):
    worker = Worker(python(peer, NETWORK, path))
    times = [took for (took,) in rounds_of(lambda: (worker.median("run", 1),), rounds)]
    worker.close()
    return quantile(times, 0.5)


def family(report, path, rounds):
    listed = subprocess.run([RELEASE / "gradcam", "methods", "--json"], capture_output=True, text=True, check=True).stdout
    rows, costs = [], {}
    for method in json.loads(listed):
        name = method["id"]
        worker = Worker(ours("onnxruntime", path, "--method", name, *LAYERS.get(name, [])))
        pairs = timed(worker, "argmax", rounds)
        worker.close()
        over = [took / plain for plain, took in pairs]
        took = quantile([took for _, took in pairs], 0.5)
        costs[name] = quantile(over, 0.5)
        report.at_most(f"inferences of {name}", costs[name], AT_MOST.get(name))
        spread = f"[{quantile(over, 0.25):.2f}, {quantile(over, 0.75):.2f}]" if len(over) > 1 else "one run"
        row = [f"`{name}`", f"{took:.1f}", f"{costs[name]:.2f} {spread}", "", "", ""]
        if name in PEERS:
            other = theirs(PEERS[name], path, rounds)
            report.at_least(f"{PEERS[name]} over {name}", other / took, AT_LEAST.get(name))
            row[3:] = [PEERS[name], f"{other:.1f}", f"{other / took:.1f}"]
        rows.append(row)
        print(*row, file=sys.stderr)
    write_costs(costs)
    return section(rows, rounds)


def write_costs(costs):
    """The generated source of the library: the id of each method and its cost."""
    lines = [f'    ("{name}", {float(f"{cost:.3g}")}),' for name, cost in costs.items()]
    COSTS.write_text(
        "\n".join(
            [
                "//! What methods cost, in inferences: at the last stage of ResNet-50, one image, in ONNX Runtime. Written by",
                "//! `crates/bench/compare.py --family`.",
                "",
                "/// The id of each method, and the time of an explanation over that of an inference.",
                "pub(super) const COSTS: &[(&str, f32)] = &[",
                *lines,
                "];",
            ]
        )
        + "\n"
    )


def section(rows, rounds):
    """The section of the document, in lines."""
    head = ["method", "ms", "inferences", "also computed by", "ms there", "ratio"]
    return [
        HEADING,
        "",
        "Every method with its own settings at the last stage of ResNet-50, in ONNX Runtime: an explanation over plain inference, "
        f"in pairs ({rounds} of them, medians and quartiles; two where an explanation takes longer than {LONG // 1000} s, one above "
        f"{10 * LONG // 1000} s). Beside it "
        "the same method of the other libraries in torch, with its defaults there. Written by `crates/bench/compare.py --family`.",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
