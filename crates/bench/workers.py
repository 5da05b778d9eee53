"""The processes that compare.py measures: systems of Python and the program `bench`, each a process of its own.

A worker in Python is `python workers.py SYSTEM NETWORK FILE`. It answers to lines, "so many runs of that", with milliseconds.
"""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"
# Threads of ONNX Runtime spin for about 27 ms after a run.
PAUSE = 0.045

# The last stage as PyTorch names it: what gradcam takes by itself.
LAST = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "mobilenet_v2": "features.18",
    "efficientnet_b0": "features.8",
    "vgg16": "features.29",
    "densenet121": "features.norm5",
    "convnext_tiny": "features.7",
}


def network(name):
    import torch
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


def export(name, path):
    import torch

    x = torch.zeros(1, 3, 224, 224)
    torch.onnx.export(network(name), x, path, dynamo=False, opset_version=17, input_names=["input"], output_names=["logits"])


def serve(run, warm=True):
    """Answers to lines, what to run and how often, with the milliseconds of each run."""
    if warm:
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line.split()[1])):
            started = time.perf_counter()
            run()
            times.append((time.perf_counter() - started) * 1e3)
        print(*times, flush=True)


def work(system, name, path):
    """A worker in Python."""
    if system == "onnxruntime":
        import numpy
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        data = {"input": numpy.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype("float32")}
        serve(lambda: session.run(None, data))
        return
    import torch

    net = network(name)
    layer = net.get_submodule(LAST[name])
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if system == "torch":

        def run():
            with torch.inference_mode():
                net(x)

    else:
        # Standard output has the answers; libraries print there too.
        with contextlib.redirect_stdout(sys.stderr):
            run = explanation(system, net, layer, x)

    serve(run, warm=" " not in system)


def explanation(system, net, layer, x):
    """An explanation of the best class by another library: its name, and the class of the method if it is not Grad-CAM."""
    library, _, method = system.partition(" ")
    if library == "torchcam":
        from torchcam import methods

        settings = {"fc_layer": "fc"} if method == "CAM" else {"input_shape": (3, 224, 224)} if method == "SmoothGradCAMpp" else {}
        extractor = getattr(methods, method or "GradCAM")(net, target_layer=layer, **settings)

        def run():
            scores = net(x)
            extractor(scores.squeeze(0).argmax().item(), scores)

    elif library == "captum":
        from captum import attr

        # Its hooks do not see what is overwritten.
        for module in net.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        best = net(x).argmax().item()
        if method == "NoiseTunnel":
            tunnel = attr.NoiseTunnel(attr.Saliency(net))
            run = lambda: tunnel.attribute(x, target=best, nt_samples=50, nt_samples_batch_size=10, stdevs=0.3, abs=False)
        elif method == "IntegratedGradients":
            path = attr.IntegratedGradients(net)
            run = lambda: path.attribute(x, target=best, n_steps=50, internal_batch_size=10)
        elif method == "Occlusion":
            windows = attr.Occlusion(net)
            run = lambda: windows.attribute(
                x, target=best, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16), perturbations_per_eval=16
            )
        else:
            name = method or "LayerGradCam"
            takes_layer = name in ("LayerGradCam", "GuidedGradCam")
            one = getattr(attr, name)(net, *([layer] if takes_layer else []))
            run = lambda: one.attribute(x, target=best)

    else:
        import pytorch_grad_cam

        layers = [net.layer3, layer] if method == "RefineCAM" else [layer]
        cam = getattr(pytorch_grad_cam, method or "GradCAM")(model=net, target_layers=layers)

        def run():
            cam(input_tensor=x, targets=None)

    return run


def quantile(numbers, share):
    numbers = sorted(numbers)
    return numbers[int(share * (len(numbers) - 1) + 0.5)]


class Worker:
    def __init__(self, command):
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self.process.stdout.readline() == "ready\n", f"does not start: {command}"

    def median(self, what, runs):
        time.sleep(PAUSE)
        self.process.stdin.write(f"{what} {runs}\n")
        self.process.stdin.flush()
        return quantile([float(word) for word in self.process.stdout.readline().split()], 0.5)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def environment():
    folder = metadata.distribution("onnxruntime").locate_file("onnxruntime/capi")
    library = [path for path in Path(folder).iterdir() if re.match(r"(lib)?onnxruntime\.(so|\d|dll)", path.name)]
    return os.environ | {"ORT_DYLIB_PATH": str(max(library))}


def python(system, name, path):
    return [sys.executable, __file__, system, name, path]


def ours(engine, path, *more):
    return [RELEASE / "bench", path, "--engine", engine, "--worker", *more]


def measure(commands, rounds, runs):
    """Milliseconds in each round of what each system is asked for: system to its command and its questions."""
    workers = {system: Worker(command) for system, (command, _) in commands.items()}
    order = [(system, what) for system, (_, questions) in commands.items() for what in questions]
    times = {key: [] for key in order}
    for turn in range(-1, rounds):
        # Nobody always follows the same neighbor; the first round warms up.
        for system, what in order[turn % len(order) :] + order[: turn % len(order)]:
            took = workers[system].median(what, runs)
            if turn >= 0:
                times[system, what].append(took)
    for worker in workers.values():
        worker.close()
    return times


def process(command):
    """Seconds and megabytes of a process."""
    started = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"fails: {' '.join(map(str, command))[:400]}"
    return time.perf_counter() - started, usage.ru_maxrss / (1e6 if platform.system() == "Darwin" else 1e3)


def save_weights(name, path):
    import torch

    torch.save(network(name).state_dict(), path)


def elsewhere(call):
    """Calls a function of this file in a process of its own.

    The process that calls stays small, because a process that it starts has its peak of memory at first.
    """
    path = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {path!r}); sys.dont_write_bytecode = True; import workers; workers.{call}"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


if __name__ == "__main__":
    work(*sys.argv[1:])
