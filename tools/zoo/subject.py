"""The models of torch: their exported files, torch's own maps, and those of gradcam."""

import copy
import warnings

import numpy as np
import onnx
import onnxruntime
import torch

from zoo import names, oracle
from zoo.build import build, scores
from zoo.program import ENGINES

MODELS = names.MODELS
EXPORTERS = {
    "torch legacy": {"dynamo": False, "opset_version": 17},
    "torch dynamo": {"dynamo": True, "opset_version": 18, "external_data": False},
}
CONDITION = 3e-4


def early_module(model, x):
    """A module a third of the way in: a block that ran once and left one map or one row of tokens."""
    calls, kept = {}, []

    def hook(path):
        def seen(_module, _input, output):
            calls[path] = calls.get(path, 0) + 1
            if torch.is_tensor(output) and output.shape[0] == 1 and output.numel() > output.shape[1]:
                spatial = output.ndim == 4 and min(sorted(output.shape[1:])[:2]) > 1
                if spatial or (output.ndim == 3 and output.shape[1] >= 16):
                    kept.append(path)

        return seen

    handles = [module.register_forward_hook(hook(path)) for path, module in model.named_modules() if path]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    once = [path for path in kept if calls[path] == 1]
    blocks = [path for path in once if len(list(model.get_submodule(path).children())) > 1]
    chosen = blocks or once
    return chosen[len(chosen) // 3] if chosen else None


def export(model, x, path, options):
    if path.exists():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside = path.with_suffix(".part")
        torch.onnx.export(copy.deepcopy(model), (x,), str(beside), input_names=["input"], verbose=False, **options)
        beside.rename(path)


def value_of(path, value, x):
    """The numbers of an inner value, by ONNX Runtime."""
    model = onnx.load(path)
    if value not in [output.name for output in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=value))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([value], {session.get_inputs()[0].name: x})[0]


class Subject:
    """One model in float32 and float64, with torch's own maps."""

    def __init__(self, model, images):
        self.model, self.double = model, copy.deepcopy(model).double()
        best = None
        for x in images:
            self.early = early_module(self.model, x)
            self.take(x)
            condition = self.condition() if self.early else 0
            if best is None or condition < best[0]:
                best = condition, x
            if condition <= CONDITION:
                break
        self.take(best[1])
        with torch.no_grad():
            self.folded, self.folded_double = oracle.folded(self.model, self.x), oracle.folded(self.double, self.x.double())

    @classmethod
    def with_random_images(cls, model, side):
        """A subject with the first of eight images at which torch's float32 is near its float64."""
        return cls(model, (torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in range(8)))

    def take(self, x):
        self.x = x
        with torch.no_grad():
            self.scores = scores(self.double(x.double()))[0].numpy()
        flat = self.scores.reshape(len(self.scores), -1)
        # The class of a segmentation must win pixels.
        self.target = 7 if flat.shape[1] == 1 else int(np.bincount(flat.argmax(0)).argmax())

    def condition(self):
        """How far float32 is from float64 at the early layer, also for images that differ by some millionths.

        Where a rectifier's input is as near to zero as that, an exporter that folds a norm flips it, and one map is not the other's.
        """
        every = lambda activation, gradient: [(activation.double().numpy() * gradient.double().numpy(),)]
        reference = lambda model, x: oracle.module_maps(model, x, self.target, self.early, every)[0][0]
        double = reference(self.double, self.x.double())
        return max(oracle.apart(reference(self.model, x), double) for x in oracle.roundings(self.x, 2e-6))

    def reference(self, path, layer, value):
        """A function that gives torch's maps of a layer in both precisions: of a module, or of the tensor with the value's numbers."""
        if layer in dict(self.model.named_modules()):
            return lambda model, x, maps: oracle.module_maps(model, x, self.target, layer, maps)
        number = oracle.find_value(self.model, self.x, value_of(path, value, self.x.numpy()))
        if number is None:
            raise ValueError(f"torch computes no tensor with the numbers of {layer}")
        return lambda model, x, maps: oracle.value_maps(model, x, self.target, number, maps)

    def truth(self, reference, shape):
        """The two maps of a layer in float64, for each layout that fits, and all those of torch's float32.

        Folded norms count only where they give the same maps in float64: where nothing else reads the convolution.
        """
        maps = oracle.raw_maps(shape, self.model)
        double = reference(self.double, self.x.double(), maps)
        same = reference(self.folded_double, self.x.double(), maps)
        sound = all(
            oracle.apart(a, b) <= oracle.FOLDS for pair, other in zip(same, double, strict=True) for a, b in zip(pair, other, strict=True)
        )
        singles = oracle.singles(lambda model, x: reference(model, x, maps), self.model, self.folded if sound else None, self.x)
        return double, singles

    @staticmethod
    def compare(truth, raw):
        """The larger difference of the two maps, and torch's own float32 from float64."""
        double, singles = truth
        found = [max(oracle.apart(a, b) for a, b in zip(raw, pair, strict=True)) for pair in double]
        best = int(np.argmin(found))
        return found[best], max(oracle.apart(a, b) for single in singles for a, b in zip(single[best], double[best], strict=True))


def first_line(error):
    return (str(error).strip().splitlines() or [""])[0][:200]


def rows(source, name, exporters, gradcam, folder):
    subject = Subject.with_random_images(*build(source, name))
    for exporter in exporters:
        yield row(subject, gradcam, source, name, exporter, folder / f"{exporter.split()[1]}.onnx")


def row(subject, gradcam, source, name, exporter, path):
    found = {
        "source": source,
        "model": name,
        "exporter": exporter,
        "export_error": None,
        "early_layer": subject.early,
        "engines": {},
        "framework_f32": {},
    }
    try:
        export(subject.model, subject.x, path, EXPORTERS[exporter])
    except Exception as error:
        found["export_error"] = "; ".join(f"{type(e).__name__}: {first_line(e)}" for e in (error, error.__cause__) if e)
        return found
    proto = onnx.load(path, load_external_data=False)
    found["nodes"], found["opset"] = len(proto.graph.node), next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: subject.x.numpy()})
    except Exception as error:
        found["runtime_error"] = " ".join(str(error).split())[:200]
        return found
    try:
        listing = gradcam.layers(path)
    except RuntimeError as error:
        found["layers_error"] = str(error)
        return found
    found["default_layer"] = listing["default"]
    for which, layer in [("default", listing["default"]), ("early", subject.early)]:
        if layer is None:
            continue
        truths = {}
        for engine in ENGINES:
            entry = found["engines"].setdefault(engine, {})
            try:
                raw, top, value, told = gradcam.explain(path, subject.x, layer, subject.target, engine)
            except RuntimeError as error:
                entry[which] = str(error)
                continue
            if told:
                entry[f"{which}_warnings"] = told
            if subject.scores.ndim == 1:
                scale = float(np.abs(subject.scores).max())
                entry["forward"] = max(abs(score - float(subject.scores[index])) for index, score in top.items()) / scale
            try:
                shape = raw[0].shape
                if shape not in truths:
                    truths[shape] = subject.truth(subject.reference(path, layer, value), shape)
                entry[which], found["framework_f32"][which] = subject.compare(truths[shape], raw)
            except Exception as error:
                entry[which] = f"not compared: {error}"
    return found
