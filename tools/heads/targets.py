"""What each kind of target is: scalars of the tensors of torch's own forward pass, one for each image of a batch.

A head takes the scores and gives, for the text of a target, a row: the values [N], and for each image the explained class and, of a
detector, the box in pixels of the input, as x, y, width, height. Masks, anchors and runs are decided by the numbers and are constants
of the gradient.
"""

from dataclasses import dataclass, field

import torch

KEPT_PROBABILITY = 0.01  # of a box that can be asked for by its place
OVERLAP = 0.5  # above it the less probable of two boxes of a class is dropped


@dataclass
class Row:
    values: torch.Tensor
    classes: list = None
    boxes: list = None
    probabilities: list = None
    anchors: list = None


@dataclass
class Head:
    """One score for each class and image: the logit, its negative, a difference, or the probability."""

    z: torch.Tensor  # [N, K]
    p: torch.Tensor  # [N, K]
    default: list = field(init=False)

    def __post_init__(self):
        self.default = self.best().tolist()

    def best(self):
        return self.p.argmax(1)

    def probabilities(self):
        return self.p

    def row(self, text, **options):
        """The row of a target as the command line takes it."""
        kind, _, rest = text.partition(":")
        if kind == "neg":
            row = self.row(rest, **options)
            row.values = -row.values
            return row
        if kind == "p":
            k = [int(rest)] * len(self.p)
            return Row(self.p[:, int(rest)], k)
        first, _, second = text.partition("-")
        if second:
            one, other = self.row(first, **options), self.row(second, **options)
            return Row(one.values - other.values, one.classes)
        name, _, which = text.partition("@")
        classes = self.default if name == "argmax" else [int(name)] * len(self.default)
        return self.of(classes, int(which or 1), **options)

    def of(self, classes, which):
        assert which == 1
        return Row(torch.stack([z[k] for z, k in zip(self.z, classes, strict=True)]), classes)


class Regression(Head):
    """One number; it has no class and no probability."""

    def __init__(self, value):
        self.value = value

    default = None

    def probabilities(self):
        return None

    def row(self, text):
        return Row({"value": self.value, "-value": -self.value}[text])


class Segmentation(Head):
    """z [N, K, H, W]: the sum of a class over the pixels that it wins, or over those of a mask."""

    def __init__(self, z):
        self.z = z
        self.wins = z.argmax(1)
        self.default = [int(torch.bincount(won.flatten(), minlength=z.shape[1]).argmax()) for won in self.wins]

    def probabilities(self):
        return None

    def of(self, classes, which, mask=None):
        assert which == 1
        values = []
        for z, wins, k in zip(self.z, self.wins, classes, strict=True):
            region = (wins == k) if mask is None else mask
            values.append((z[k] * (region if region.any() else torch.ones_like(region))).sum())
        return Row(torch.stack(values), classes)


class OneChannel(Head):
    """z [N, H, W]: the sum over the pixels above 0."""

    def __init__(self, z):
        self.z = z
        self.default = [0] * len(z)

    def probabilities(self):
        return None

    def of(self, classes, which, mask=None):
        assert which == 1 and not any(classes)
        values = []
        for z in self.z:
            region = (z > 0) if mask is None else mask
            values.append((z * (region if region.any() else torch.ones_like(region))).sum())
        return Row(torch.stack(values), classes)


class Sequence(Head):
    """z [N, T, C]: the sum of a class over the steps that it wins, or over its n-th run."""

    def __init__(self, z, blank):
        self.z, self.blank = z, blank
        self.wins = z.argmax(2)
        counts = [torch.bincount(won, minlength=z.shape[2]) for won in self.wins]
        if blank is not None:
            for count in counts:
                count[blank] = 0
        self.default = [int(count.argmax()) for count in counts]

    def probabilities(self):
        return None

    def runs(self, image):
        """Class, first step and end of each run of steps."""
        found = []
        for t, k in enumerate(self.wins[image].tolist()):
            if found and found[-1][0] == k:
                found[-1][2] = t + 1
            else:
                found.append([k, t, t + 1])
        return found

    def greedy(self):
        return [[k for k, _, _ in self.runs(image) if k != self.blank] for image in range(len(self.z))]

    def of(self, classes, which):
        values = []
        for z, wins, k in zip(self.z, self.wins, classes, strict=True):
            steps = wins == k
            values.append((z[:, k] * (steps if steps.any() else torch.ones_like(steps))).sum())
        return Row(torch.stack(values), classes)

    def run(self, k, which):
        values = []
        for image, z in enumerate(self.z):
            _, start, end = [run for run in self.runs(image) if run[0] == k][which - 1]
            values.append(z[start:end, k].sum())
        return Row(torch.stack(values), [k] * len(values))

    def row(self, text, **options):
        name, _, which = text.partition("@")
        return self.run(int(name), int(which)) if which else super().row(text, **options)


class Detection(Head):
    """Scores and probabilities [N, K, A], boxes [N, A, 4] as x, y, width, height in pixels of the input."""

    def __init__(self, s, p, boxes):
        self.s, self.p, self.boxes = s, p, boxes.detach()
        self.default = [int(one.amax(1).argmax()) for one in p]

    def probabilities(self):
        return self.p.amax(2)

    def kept(self, image, k, anchors):
        """The anchors that greedy suppression keeps, the most probable first."""
        p = self.p[image, k, anchors]
        kept = []
        for a in anchors[p.argsort(descending=True, stable=True)].tolist():
            box = self.boxes[image, a]
            if not kept or float(overlap(box, self.boxes[image, kept]).max()) <= OVERLAP:
                kept.append(a)
        return kept

    def at(self, anchors, classes):
        values = [self.s[i, k, a] for i, (k, a) in enumerate(zip(classes, anchors, strict=True))]
        boxes = [self.boxes[i, a].tolist() for i, a in enumerate(anchors)]
        p = [float(self.p[i, k, a].detach()) for i, (k, a) in enumerate(zip(classes, anchors, strict=True))]
        return Row(torch.stack(values), classes, boxes, p, anchors)

    def of(self, classes, which):
        everywhere = torch.arange(self.p.shape[2])
        return self.at([self.kept(i, k, everywhere)[which - 1] for i, k in enumerate(classes)], classes)

    def near(self, box):
        """The kept box, of any class, that overlaps the given one most."""
        anchors, classes = [], []
        for i, p in enumerate(self.p):
            best, of = p.max(0)
            sure = best >= KEPT_PROBABILITY
            sure = sure if sure.any() else torch.ones_like(sure)
            kept = [a for k in of.unique().tolist() for a in self.kept(i, k, torch.nonzero(sure & (of == k))[:, 0])]
            overlaps = overlap(box, self.boxes[i, kept])
            assert float(overlaps.max()) > 0.1, "no box is near"
            chosen = kept[int(overlaps.argmax())]
            anchors.append(chosen)
            classes.append(int(of[chosen]))
        return self.at(anchors, classes)

    def row(self, text=None, box=None, **options):
        return super().row(text, **options) if box is None else self.near(torch.tensor(box, dtype=self.boxes.dtype))


class Embedding(Head):
    """The cosine of the embedding [N, K] and a vector."""

    def __init__(self, z):
        self.z = z

    default = None

    def probabilities(self):
        return None

    def row(self, vector):
        return Row(torch.nn.functional.cosine_similarity(self.z, torch.tensor(vector, dtype=self.z.dtype)[None]))


def overlap(box, others):
    """Intersection over union of one box and many."""
    x, y, w, h = box
    left, top = torch.maximum(x, others[:, 0]), torch.maximum(y, others[:, 1])
    right = torch.minimum(x + w, others[:, 0] + others[:, 2])
    bottom = torch.minimum(y + h, others[:, 1] + others[:, 3])
    common = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    return common / (w * h + others[:, 2] * others[:, 3] - common)


def corners(boxes):
    """x, y, width, height from the two corners x0, y0, x1, y1."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)


def centered(boxes):
    """x, y, width, height from the center and the size."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]], -1)
