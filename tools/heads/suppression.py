"""ONNX's NonMaxSuppression in torch, for the legacy exporter."""

import torch
from torchvision.ops import nms

from heads import targets

COUNT, OVERLAP, LEAST = 5, 0.5, 0.3


class NonMaxSuppression(torch.autograd.Function):
    @staticmethod
    def forward(context, boxes, scores, by_center):
        if by_center:
            boxes = targets.centered(boxes)
            boxes = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
        rows = []
        for i, image in enumerate(scores):
            for k, p in enumerate(image):
                anchors = torch.nonzero(p > LEAST)[:, 0]
                kept = anchors[nms(boxes[i, anchors], p[anchors], OVERLAP)][:COUNT]
                rows += [[i, k, a] for a in kept.tolist()]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)

    @staticmethod
    def symbolic(g, boxes, scores, by_center):
        number = lambda value, kind: g.op("Constant", value_t=torch.tensor([value], dtype=kind))
        limits = number(COUNT, torch.int64), number(OVERLAP, torch.float32), number(LEAST, torch.float32)
        return g.op("NonMaxSuppression", boxes, scores, *limits, center_point_box_i=int(by_center))
