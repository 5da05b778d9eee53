"""Detectors of ultralytics: the graph of YOLOv8n and YOLO11n with few channels, as it exports them."""

import copy
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
import yaml
from torch import nn

from heads import targets

CHANNELS = {64: 8, 128: 8, 256: 8, 512: 16, 1024: 16}
KEPT = {"stride", "task", "names", "imgsz"}  # of the metadata


class Yolo(nn.Module):
    """Boxes and sigmoid scores, [1, 4 + K, A]."""

    def __init__(self, config, classes):
        super().__init__()
        self.config, self.classes = config, classes

    def settle(self, x):
        from ultralytics import YOLO, cfg
        from ultralytics.nn.modules import Conv

        found = yaml.safe_load((Path(cfg.__file__).parent / "models" / self.config).read_text())
        for layer in found["backbone"] + found["head"]:
            layer[1] = 1
            layer[3] = [CHANNELS.get(one, one) if isinstance(one, int) and not isinstance(one, bool) else one for one in layer[3]]
        found |= {"nc": self.classes, "scales": {}}
        with TemporaryDirectory() as folder:
            path = Path(folder) / "small.yaml"
            path.write_text(yaml.safe_dump(found))
            # Not a module of this one: what is exported keeps the names of its own modules.
            self.__dict__["wrapped"] = YOLO(str(path), task="detect")
        self.model = self.wrapped.model.model
        self.detect = self.model[-1]
        # The convolutions of boxes are small: those of ultralytics are most of the file.
        branch = lambda c: nn.Sequential(Conv(c, 8, 3), Conv(8, 8, 3), nn.Conv2d(8, 64, 1))
        self.detect.cv2 = nn.ModuleList(branch(conv[0].conv.in_channels) for conv in self.detect.cv2)
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.2)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.uniform_(module.bias, -0.2, 0.4)
                module.momentum = 1.0
        for conv in self.detect.cv2:
            # Distances of about one stride: boxes of many sizes within the picture.
            conv[-1].bias.data = (-0.7 * torch.arange(16.0)).repeat(4)
        self.detect.dfl.conv.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)
        # Statistics of random images: the deepest map of one small image has too few places.
        with torch.no_grad():
            self.wrapped.model.train()(torch.cat([x, torch.rand(7, *x.shape[1:]) * 2 - 1]))
        self.wrapped.model.eval()
        with torch.no_grad():
            z = self.parts(x)[0]
            parts = z.split([count for _, count in self.scales(x)], 2)
            for conv, part in zip(self.detect.cv3, parts, strict=True):
                conv[-1].bias -= part.mean((0, 2))
        return self

    def scales(self, x):
        """For each scale the module that the detector reads, and how many anchors it has."""
        return [(f"model.{i}", x.shape[2] * x.shape[3] // int(s) ** 2) for i, s in zip(self.detect.f, self.detect.stride, strict=True)]

    def parts(self, x):
        """Logits [1, K, A] and the file's output."""
        made = self.wrapped.model.to(x.dtype)
        self.detect.shape = None  # Anchors are made again, in this precision.
        out, raw = made(x)
        return raw["scores"], out

    def forward(self, x):
        return self.parts(x)[1]

    def double(self):
        other = copy.copy(self)
        other.__dict__ = {**self.__dict__, "_modules": {}, "wrapped": copy.deepcopy(self.wrapped)}
        other.wrapped.model.double()
        other.model = other.wrapped.model.model
        other.detect = other.model[-1]
        return other

    def head(self, x):
        z, out = self.parts(x)
        return targets.Detection(z, z.sigmoid(), targets.centered(out[:, :4].transpose(1, 2)))

    def write(self, x, path):
        before = Path.cwd()
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                made = self.wrapped.export(format="onnx", imgsz=x.shape[2], simplify=False, verbose=False)
                model = onnx.load(made)
            finally:
                os.chdir(before)
        kept = [entry for entry in model.metadata_props if entry.key in KEPT]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        onnx.save(model, path)


class YoloTransposed(Yolo):
    """The same, [1, A, 4 + K]."""

    def forward(self, x):
        return super().forward(x).transpose(1, 2)

    def write(self, x, path):
        super().write(x, path)
        model = onnx.load(path)
        (output,) = model.graph.output
        model.graph.node.append(onnx.helper.make_node("Transpose", [output.name], ["transposed"], "/Transpose", perm=[0, 2, 1]))
        a, b, c = (dim.dim_value for dim in output.type.tensor_type.shape.dim)
        output.CopyFrom(onnx.helper.make_tensor_value_info("transposed", onnx.TensorProto.FLOAT, [a, c, b]))
        onnx.save(model, path)
