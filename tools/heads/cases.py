"""The table of networks and targets."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from heads import detectors, networks
from heads.of_transformers import Detr, RtDetr, Tower
from heads.of_ultralytics import Yolo, YoloTransposed

PLAIN = (2, 3, 32, 32)
WIDE = (2, 3, 32, 96)
DETECTOR = (2, 3, 64, 64)


@dataclass
class Case:
    """A network, what it stands for, and what is asked of it.

    A target is text as on the command line (`target`), or a `mask` of rectangles, a `box`, an `output` with an index, a vector to be
    `similar_to`.
    """

    name: str
    kind: str
    why: str
    make: Callable
    targets: list
    shape: tuple = PLAIN
    layer: str = "body.5"
    exporter: str = "legacy"
    head: Callable = None
    view: Callable = staticmethod(lambda a: a)

    def prepare(self, network, seed):
        """Fills in what depends on the network."""


def texts(*names):
    return [{"target": name} for name in names]


class SimilarTo(Case):
    def prepare(self, network, seed):
        from head_cases import image

        with torch.no_grad():
            vector = network(image(seed, (1, *self.shape[1:]), "second"))[0]
        self.targets = [{"similar_to": [float(f"{v:.6g}") for v in vector.tolist()]}]


def parts(network, x):
    features = network.body(x)
    return networks.Parts({"features": features, "logits": network.classifier(features.mean((2, 3)))})


CASES = [
    Case("logits", "softmax", "classes without an activation", lambda: networks.Classifier(5), texts("argmax", "3", "1-4", "p:3", "neg:3")),
    Case(
        "softmax", "softmax", "ends in Softmax", lambda: networks.Softmax(5), texts("argmax", "3", "1-4", "p:3", "neg:3"), exporter="dynamo"
    ),
    Case("softmax_clip", "softmax", "Softmax, then Clip to 0…1", lambda: networks.SoftmaxClip(5), texts("argmax", "3", "p:3")),
    Case("softmax_percent", "softmax", "Softmax, then · 100", lambda: networks.SoftmaxPercent(5), texts("argmax", "3", "p:3")),
    Case("softmax_crops", "softmax", "the mean of the probabilities of crops", networks.SoftmaxOverCrops, texts("argmax", "2", "1-3")),
    Case(
        "labels",
        "sigmoid",
        "two labels that do not exclude each other",
        lambda: networks.Labels(2),
        texts("argmax", "0", "1", "0-1", "p:1"),
    ),
    Case("binary", "binary", "one number under a Sigmoid", networks.Binary, texts("argmax", "0", "1", "p:1", "p:0", "neg:1")),
    Case(
        "binary_time",
        "binary",
        "Sigmoid, Squeeze, ReduceMean over time: the output is a probability",
        networks.BinaryOverTime,
        texts("argmax", "0", "1"),
        shape=WIDE,
    ),
    Case("regressor", "regression", "one number, no Sigmoid", networks.Regressor, texts("value", "-value")),
    Case(
        "regressor_flat", "regression", "the same, [N]", lambda: networks.Regressor(flat=True), texts("value", "-value"), exporter="dynamo"
    ),
    Case(
        "segmenter",
        "segmentation",
        "21 classes [N, K, H, W]",
        lambda: networks.Segmenter(21),
        [*texts("argmax", "5", "5-9", "neg:5"), {"target": "5", "mask": [[4, 6, 10, 12], [12, 16, 8, 9]]}],
    ),
    Case(
        "segmenter_last_axis",
        "segmentation",
        "the classes last, [N, H, W, K]",
        lambda: networks.Segmenter(7, last_axis=True),
        texts("argmax", "2"),
        exporter="dynamo",
    ),
    Case(
        "one_channel",
        "segmentation",
        "one channel under a Sigmoid, as detectors of text have it",
        lambda: networks.OneChannel(torch.sigmoid),
        [*texts("argmax"), {"target": "argmax", "mask": [[4, 6, 10, 12], [12, 16, 8, 9]]}],
    ),
    Case(
        "one_channel_plain",
        "segmentation",
        "one channel without Sigmoid",
        lambda: networks.OneChannel(torch.Tensor.contiguous),
        texts("argmax"),
    ),
    Case(
        "one_channel_dark",
        "segmentation",
        "no pixel is above 0: all count",
        lambda: networks.OneChannel(torch.sigmoid, -5.0),
        texts("argmax"),
    ),
    Case(
        "depth",
        "segmentation",
        "[N, H, W], as estimators of depth give it",
        lambda: networks.OneChannel(lambda z: z[:, 0]),
        texts("argmax"),
    ),
    Case(
        "recognizer",
        "sequence",
        "characters of columns under a Softmax, [N, T, C]",
        lambda: networks.Recognizer(7, lambda z: z.softmax(2)),
        texts("argmax", "3", "2@2", "neg:3"),
        shape=WIDE,
    ),
    Case(
        "recognizer_time_first",
        "sequence",
        "the same without Softmax, [T, N, C]",
        lambda: networks.Recognizer(7, torch.Tensor.contiguous, time_first=True),
        texts("argmax", "3", "2@2"),
        shape=WIDE,
    ),
    Case(
        "events",
        "sequence",
        "sound events under a Sigmoid: no class is a blank",
        lambda: networks.Recognizer(5, torch.sigmoid, blank=None),
        texts("argmax", "0", "2@2"),
        shape=WIDE,
    ),
    SimilarTo(
        "clip_tower",
        "embedding",
        "CLIP's vision tower",
        Tower,
        [],
        layer="clip.vision_model.encoder.layers.1.layer_norm1",
        view=lambda a: a[:, 1:].transpose(1, 2).unflatten(2, (4, 4)),
    ),
    Case(
        "two_outputs",
        "softmax",
        "features and logits; any part of a value is a target",
        lambda: networks.TwoOutputs(5),
        [{"output": "logits[:,3]"}, {"output": "features[:,3]"}, {"output": "features[:,3,1:4]"}, {"output": "logits[:]"}],
        head=parts,
    ),
]

CASES += [
    Case(
        "yolov5",
        "detection",
        "[N, A, 5 + K], everything under a Sigmoid",
        lambda: detectors.Yolov5(4),
        [*texts("argmax", "2", "2@2", "neg:2"), {"box": [20, 12, 24, 30]}],
        shape=DETECTOR,
    ),
    Case(
        "yolox",
        "detection",
        "[N, A, 5 + K], boxes as offsets from a grid",
        lambda: detectors.Yolox(4, decoded=False),
        [*texts("argmax", "2", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=DETECTOR,
    ),
    Case(
        "yolox_decoded",
        "detection",
        "[N, A, 5 + K], boxes in pixels",
        lambda: detectors.Yolox(4, decoded=True),
        [*texts("argmax", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=DETECTOR,
        exporter="dynamo",
    ),
    Case(
        "ssd",
        "detection",
        "scores under a Softmax with a background, and corners from 0 to 1",
        lambda: detectors.Ssd(4),
        [*texts("argmax", "2", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=DETECTOR,
    ),
    Case(
        "suppressed_by_center",
        "detection",
        "NonMaxSuppression of centers and sizes, and the scores in front of it as an output",
        lambda: detectors.SuppressedByCenter(3),
        [*texts("argmax", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=(1, 3, 64, 64),
    ),
    Case(
        "suppressed_top_first",
        "detection",
        "NonMaxSuppression of corners as the standard has them, y first",
        lambda: detectors.SuppressedTopFirst(3),
        [*texts("argmax", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=(1, 3, 64, 64),
    ),
    Case(
        "suppressed",
        "detection",
        "NonMaxSuppression in a file of PyTorch, corners x first: the scores in front of it",
        lambda: detectors.Suppressed(3),
        [*texts("argmax", "2", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=(1, 3, 64, 64),
    ),
]
ASKED = [*texts("argmax", "2", "2@2", "neg:2"), {"box": [20, 12, 24, 30]}]
YOLO = {
    "yolov8": ("YOLOv8 of ultralytics, [N, 4 + K, A]", lambda: Yolo("v8/yolov8.yaml", 3), "model.15"),
    "yolov8_transposed": ("the same, [N, A, 4 + K]", lambda: YoloTransposed("v8/yolov8.yaml", 3), "model.15"),
    "yolo11": ("YOLO11 of ultralytics", lambda: Yolo("11/yolo11.yaml", 3), "model.16"),
}
CASES += [Case(name, "detection", why, make, ASKED, (1, 3, 64, 64), layer) for name, (why, make, layer) in YOLO.items()]
CASES += [
    Case(
        "detr",
        "detection",
        "DETR of transformers: a pair; one class more than labels, which is no object",
        lambda: Detr(3),
        [*texts("argmax", "2", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=(1, 3, 64, 64),
        layer="detr.model.backbone.model.encoder.stages.2",
    ),
    Case(
        "rtdetr",
        "detection",
        "RT-DETR of transformers: a pair, classes under sigmoids",
        lambda: RtDetr(3),
        [*texts("argmax", "2", "2@2"), {"box": [20, 12, 24, 30]}],
        shape=(1, 3, 64, 64),
        layer="rtdetr.model.encoder.fpn_blocks.1",
    ),
]
