"""Small networks of each kind that is no detector. `parts` gives the tensors that targets are made of, `forward` what the file gives."""

import torch
from torch import nn

from heads import targets

SPREAD = 1.5  # the deviation of a class's score between images, pixels or steps


class Body(nn.Sequential):
    """[N, 3, H, W] → [N, 16, H/4, W/4]"""

    def __init__(self, last=None):
        act = nn.SiLU
        layers = [nn.Conv2d(3, 8, 3, 2, 1), act(), nn.Conv2d(8, 16, 3, 2, 1), act(), nn.Conv2d(16, 16, 3, 1, 1), last or nn.ReLU()]
        super().__init__(*layers)


class Network(nn.Module):
    """A body and a head. `level` names the layer that makes the scores, which are brought to the mean 0 and one deviation."""

    level = None
    outputs = ("output",)

    def __init__(self):
        super().__init__()
        self.body = Body()

    def settle(self, x):
        """Weights of the deviation that keeps numbers near 1, as training would, and scores of classes around zero."""
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
                nn.init.normal_(module.bias, std=0.2)
        if self.level:
            last, seen = self.get_submodule(self.level), []
            handle = last.register_forward_hook(lambda _module, _input, output: seen.append(output))
            with torch.no_grad():
                self(torch.rand(16, *x.shape[1:]) * 2 - 1)
                scores = seen[0].movedim(1, -1) if isinstance(last, (nn.Conv1d, nn.Conv2d)) else seen[0]
                scores = scores.flatten(0, -2)
                scale = SPREAD / scores.std(0)
                last.weight *= scale.reshape(-1, *[1] * (last.weight.ndim - 1))
                last.bias -= scores.mean(0)
                last.bias *= scale
            handle.remove()
        return self


class Classifier(Network):
    level = "classifier"

    def __init__(self, classes):
        super().__init__()
        self.classifier = nn.Linear(16, classes)

    def parts(self, x):
        return {"z": self.classifier(self.body(x).mean((2, 3)))}

    def forward(self, x):
        return self.end(self.parts(x)["z"])

    end = staticmethod(lambda z: z)

    def head(self, x):
        z = self.parts(x)["z"]
        return targets.Head(z, z.softmax(1))


class Softmax(Classifier):
    end = staticmethod(lambda z: z.softmax(1))


class SoftmaxClip(Classifier):
    end = staticmethod(lambda z: z.softmax(1).clamp(0, 1))


class SoftmaxPercent(Classifier):
    end = staticmethod(lambda z: z.softmax(1) * 100)


class Labels(Classifier):
    """Labels that do not exclude each other."""

    end = staticmethod(torch.sigmoid)

    def head(self, x):
        z = self.parts(x)["z"]
        return targets.Head(z, z.sigmoid())


def binary(z, p):
    return targets.Head(torch.cat([-z, z], 1), torch.cat([1 - p, p], 1))


class Binary(Classifier):
    end = staticmethod(torch.sigmoid)

    def __init__(self):
        super().__init__(1)

    def head(self, x):
        z = self.parts(x)["z"]
        return binary(z, z.sigmoid())


class Regressor(Classifier):
    def __init__(self, flat=False):
        super().__init__(1)
        self.flat = flat

    def forward(self, x):
        value = self.parts(x)["z"]
        return value[:, 0] if self.flat else value

    def head(self, x):
        return targets.Regression(self.parts(x)["z"][:, 0])


class BinaryOverTime(Network):
    """The mean of a probability over time, as detectors of voices give it: Sigmoid, Squeeze, ReduceMean."""

    level = "score"

    def __init__(self):
        super().__init__()
        self.score = nn.Conv1d(16, 1, 1)

    def forward(self, x):
        return self.score(self.body(x).mean(2)).sigmoid().squeeze(1).mean(1, keepdim=True)

    def head(self, x):
        p = self(x)
        both = torch.cat([1 - p, p], 1)
        return targets.Head(both, both)


class SoftmaxOverCrops(Network):
    """The mean of the probabilities of crops: here, of columns."""

    level = "classifier"

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(16, 4)

    def forward(self, x):
        return self.classifier(self.body(x).mean(2).transpose(1, 2)).softmax(2).mean(1)

    def head(self, x):
        p = self(x)
        return targets.Head(p, p)


class Segmenter(Network):
    """Scores [N, K, H, W] at the size of the input, or [N, H, W, K]."""

    level = "classifier"

    def __init__(self, classes, last_axis=False):
        super().__init__()
        self.classifier = nn.Conv2d(16, classes, 1)
        self.last_axis = last_axis

    def scores(self, x):
        return nn.functional.interpolate(self.classifier(self.body(x)), x.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, x):
        return self.scores(x).permute(0, 2, 3, 1) if self.last_axis else self.scores(x)

    def head(self, x):
        return targets.Segmentation(self.scores(x))


class OneChannel(Segmenter):
    """One score for each pixel: text or not, matte, depth."""

    def __init__(self, end, level=0.0):
        super().__init__(1)
        self.end, self.offset = end, level

    def forward(self, x):
        return self.end(self.scores(x))

    def scores(self, x):
        return super().scores(x) + self.offset

    def head(self, x):
        return targets.OneChannel(self.scores(x)[:, 0])


class Recognizer(Network):
    """Scores of characters for each column, [N, T, C] or [T, N, C]."""

    level = "classifier"

    def __init__(self, classes, end, time_first=False, blank=0):
        super().__init__()
        # Neighbors are alike, so that runs have several steps.
        self.neck = nn.AvgPool1d(5, 1, 2)
        self.classifier = nn.Linear(16, classes)
        self.end, self.time_first, self.blank = end, time_first, blank

    def scores(self, x):
        return self.classifier(self.neck(self.body(x).mean(2)).transpose(1, 2))

    def forward(self, x):
        z = self.scores(x)
        return self.end(z.transpose(0, 1) if self.time_first else z)

    def head(self, x):
        return targets.Sequence(self.scores(x), self.blank)


class TwoOutputs(Classifier):
    outputs = ("features", "logits")

    def forward(self, x):
        features = self.body(x)
        return features, self.classifier(features.mean((2, 3)))


class Parts(targets.Head):
    """Any part of any value: the target is `name[index]`, summed."""

    def __init__(self, values):
        self.values = values

    default = None

    def probabilities(self):
        return None

    def row(self, text):
        name, _, index = text.rstrip("]").partition("[")
        number = lambda one: int(one) if one else None
        where = tuple(slice(*map(number, one.split(":"))) if ":" in one else int(one) for one in index.split(",") if one)
        part = self.values[name][where]
        return targets.Row(part.flatten(1).sum(1) if part.ndim > 1 else part)
