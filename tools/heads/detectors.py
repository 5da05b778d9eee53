"""Small detectors: their heads as published, on a few convolutions with random weights."""

import torch
from torch import nn

from heads import targets
from heads.networks import Network
from heads.suppression import NonMaxSuppression


def grid(h, w, like):
    y, x = torch.meshgrid(torch.arange(h, dtype=like.dtype), torch.arange(w, dtype=like.dtype), indexing="ij")
    return torch.stack([x, y], -1)


class Pyramid(Network):
    """Feature maps of strides 8, 16 and 32."""

    STRIDES = (8, 16, 32)
    ANCHORS_PER_PLACE = 1

    def __init__(self):
        super().__init__()
        down = lambda: nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.SiLU())
        self.p3, self.p4, self.p5 = down(), down(), down()

    def maps(self, x):
        p3 = self.p3(self.body(x))
        p4 = self.p4(p3)
        return p3, p4, self.p5(p4)

    def scales(self, x):
        """For each scale the module that makes its map, and how many anchors it has."""
        places = [x.shape[2] * x.shape[3] // stride**2 for stride in self.STRIDES]
        return [(f"p{i}", self.ANCHORS_PER_PLACE * count) for i, count in zip((3, 4, 5), places, strict=True)]


class Yolov5(Pyramid):
    """YOLOv5's Detect: [N, A, 5 + K], everything under a sigmoid, boxes as center and size in pixels.

    A. Jocher, YOLOv5 (2020). Two anchors a place instead of three.
    """

    ANCHORS_PER_PLACE = 2
    ANCHORS = (((10, 13), (33, 23)), ((30, 61), (62, 45)), ((50, 40), (56, 60)))

    def __init__(self, classes):
        super().__init__()
        self.width = 5 + classes
        self.m = nn.ModuleList(nn.Conv2d(16, 2 * self.width, 1) for _ in self.STRIDES)

    def forward(self, x):
        found = []
        for conv, stride, anchors, a in zip(self.m, self.STRIDES, self.ANCHORS, self.maps(x), strict=True):
            n, _, h, w = a.shape
            y = conv(a).view(-1, 2, self.width, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            xy = (y[..., :2] * 2 + (grid(h, w, a) - 0.5)) * stride
            wh = (y[..., 2:4] * 2) ** 2 * torch.tensor(anchors, dtype=a.dtype).view(1, 2, 1, 1, 2)
            found.append(torch.cat([xy, wh, y[..., 4:]], 4).view(-1, 2 * h * w, self.width))
        return torch.cat(found, 1)

    def head(self, x):
        out = self(x)
        p = (out[..., 4:5] * out[..., 5:]).transpose(1, 2)
        return targets.Detection(p, p, targets.centered(out[..., :4]))


class Yolox(Pyramid):
    """YOLOX's decoupled head: [N, A, 5 + K] of raw boxes, sigmoid(objectness) and sigmoid(classes).

    Z. Ge et al., YOLOX (2021): a box is (offset + place)·stride, exp(size)·stride; the file may leave that to its user.
    """

    def __init__(self, classes, decoded):
        super().__init__()
        self.decoded = decoded
        branch = lambda: nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.SiLU())
        self.cls_convs, self.reg_convs = (nn.ModuleList(branch() for _ in self.STRIDES) for _ in range(2))
        each = lambda count: nn.ModuleList(nn.Conv2d(16, count, 1) for _ in self.STRIDES)
        self.cls_preds, self.reg_preds, self.obj_preds = each(classes), each(4), each(1)

    def decode(self, out, x):
        places, strides = [], []
        for stride in self.STRIDES:
            h, w = x.shape[2] // stride, x.shape[3] // stride
            places.append(grid(h, w, x).reshape(-1, 2))
            strides.append(torch.full((h * w, 1), stride, dtype=x.dtype))
        places, strides = torch.cat(places), torch.cat(strides)
        return torch.cat([(out[..., :2] + places) * strides, out[..., 2:4].exp() * strides, out[..., 4:]], -1)

    def raw(self, x):
        found = []
        for i, a in enumerate(self.maps(x)):
            cls, reg = self.cls_convs[i](a), self.reg_convs[i](a)
            found.append(
                torch.cat([self.reg_preds[i](reg), self.obj_preds[i](reg).sigmoid(), self.cls_preds[i](cls).sigmoid()], 1).flatten(2)
            )
        return torch.cat(found, 2).permute(0, 2, 1)

    def forward(self, x):
        return self.decode(self.raw(x), x) if self.decoded else self.raw(x)

    def head(self, x):
        out = self.decode(self.raw(x), x)
        p = (out[..., 4:5] * out[..., 5:]).transpose(1, 2)
        return targets.Detection(p, p, targets.centered(out[..., :4]))


class Ssd(Pyramid):
    """Scores [N, A, K] under a Softmax, of which class 0 is the background, and corners [N, A, 4] from 0 to 1.

    W. Liu et al., SSD (2016): offsets from priors, with the variances 0.1 and 0.2.
    """

    outputs = ("scores", "boxes")
    ANCHORS_PER_PLACE = 2

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.classification = nn.ModuleList(nn.Conv2d(16, 2 * classes, 3, 1, 1) for _ in self.STRIDES)
        self.regression = nn.ModuleList(nn.Conv2d(16, 8, 3, 1, 1) for _ in self.STRIDES)

    def raw(self, x):
        z, boxes = [], []
        for stride, scorer, placer, a in zip(self.STRIDES, self.classification, self.regression, self.maps(x), strict=True):
            h, w = a.shape[2:]
            z.append(scorer(a).permute(0, 2, 3, 1).reshape(-1, 2 * h * w, self.classes))
            offsets = placer(a).permute(0, 2, 3, 1).reshape(-1, 2 * h * w, 4)
            centers = ((grid(h, w, a) + 0.5) / torch.tensor([w, h], dtype=a.dtype)).reshape(-1, 1, 2).repeat(1, 2, 1).reshape(-1, 2)
            sizes = torch.tensor([[2.0, 2.0], [3.0, 4.0]], dtype=a.dtype).repeat(h * w, 1) * stride / x.shape[3]
            center = centers + 0.1 * offsets[..., :2] * sizes
            size = sizes * (0.2 * offsets[..., 2:]).exp()
            boxes.append(torch.cat([center - size / 2, center + size / 2], -1))
        return torch.cat(z, 1), torch.cat(boxes, 1)

    def forward(self, x):
        z, boxes = self.raw(x)
        return z.softmax(2), boxes

    def head(self, x):
        z, boxes = self.raw(x)
        side = torch.tensor([x.shape[3], x.shape[2]] * 2, dtype=x.dtype)
        z, p = z.transpose(1, 2), z.softmax(2).transpose(1, 2)
        return Foreground(z, p, targets.corners(boxes * side))


class Foreground(targets.Detection):
    """Class 0 is the background: it is no default, and no anchor's best class."""

    def __init__(self, s, p, boxes):
        shown = p.clone()
        shown[:, 0] = 0
        super().__init__(s, shown, boxes)


class Suppressed(Ssd):
    """Sigmoid scores and boxes in pixels, the suppression in the file, and what it keeps.

    Boxes are corners, x first, as torchvision's exports give them.
    """

    outputs = ("boxes", "scores", "classes")

    def before(self, x):
        z, boxes = self.raw(x)
        return z.transpose(1, 2), boxes * torch.tensor([x.shape[3], x.shape[2]] * 2, dtype=x.dtype)

    def forward(self, x):
        z, boxes = self.before(x)
        p = z.sigmoid()
        image, k, anchor = NonMaxSuppression.apply(boxes, p, False).unbind(1)
        return boxes[image, anchor], p[image, k, anchor], k

    def head(self, x):
        z, boxes = self.before(x)
        return targets.Detection(z, z.sigmoid(), targets.corners(boxes))


class SuppressedByCenter(Suppressed):
    """Boxes are center and size; the file also gives what it had before the suppression, as exports of YOLOv3 do."""

    outputs = ("boxes", "scores", "selected")

    def forward(self, x):
        z, boxes = self.before(x)
        p, boxes = z.sigmoid(), torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
        return boxes, p, NonMaxSuppression.apply(boxes, p, True)


class SuppressedTopFirst(Suppressed):
    """Corners as the standard has them, y first, and what is selected as the only output; not PyTorch's file."""

    outputs = ("selected",)
    producer = "tf2onnx"

    def forward(self, x):
        z, boxes = self.before(x)
        return NonMaxSuppression.apply(boxes[..., [1, 0, 3, 2]], z.sigmoid(), False)
