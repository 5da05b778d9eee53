"""Small transformers of Hugging Face: CLIP's vision tower, DETR and RT-DETR."""

from unittest import mock

import torch
from torch import nn

from heads import targets


class Wrapped(nn.Module):
    def settle(self, x):
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=(parameter[0].numel() if parameter.ndim < 4 else parameter[0].numel() / 2) ** -0.5)
            elif "norm" not in name or name.endswith("bias"):
                nn.init.normal_(parameter, std=0.2)
        return self


class Tower(Wrapped):
    """CLIP's vision tower: the embedding of a picture."""

    outputs = ("image_embeds",)

    def __init__(self):
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=12, attn_implementation="eager")
        self.clip = CLIPVisionModelWithProjection(config)

    def forward(self, x):
        return self.clip(pixel_values=x).image_embeds

    def head(self, x):
        return targets.Embedding(self(x))


def pair(kind, x, z, p, boxes):
    """Logits as scores; boxes are center and size as shares of the picture."""
    side = torch.tensor([x.shape[3], x.shape[2]] * 2, dtype=x.dtype)
    return kind(z.transpose(1, 2), p.transpose(1, 2), targets.centered(boxes * side))


class Detr(Wrapped):
    """DETR: logits [N, Q, K + 1], of which the last is no object, and boxes. The labels tell it from detectors with sigmoids."""

    outputs = ("logits", "pred_boxes")

    def __init__(self, classes):
        super().__init__()
        labels = {str(k): name for k, name in zip(range(classes), ("cat", "dog", "bird"), strict=True)}
        self.config_json = {"architectures": ["DetrForObjectDetection"], "model_type": "detr", "id2label": labels}
        from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

        backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic", out_features=["stage3"])
        sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        sizes |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "num_queries": 10, "num_labels": classes}
        config = DetrConfig(use_timm_backbone=False, backbone_config=backbone, **sizes, attn_implementation="eager")
        self.detr = DetrForObjectDetection(config)

    def settle(self, x):
        super().settle(x)
        # Queries differ, and so do their boxes.
        nn.init.normal_(self.detr.model.query_position_embeddings.weight, std=2.0)
        for last in (self.detr.bbox_predictor.layers[-1], self.detr.class_labels_classifier):
            last.weight.data *= 4
        return self

    def forward(self, x):
        out = self.detr(pixel_values=x)
        return out.logits, out.pred_boxes

    def head(self, x):
        z, boxes = self(x)
        p = z.softmax(2)
        return pair(targets.Detection, x, z[..., :-1], p[..., :-1], boxes)


class RtDetr(Wrapped):
    """RT-DETR: logits [N, Q, K], each under a sigmoid, and boxes."""

    outputs = ("logits", "pred_boxes")

    def __init__(self, classes):
        super().__init__()
        from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

        stages = ["stage2", "stage3", "stage4"]
        backbone = RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=stages
        )
        sizes = {"encoder_hidden_dim": 8, "encoder_in_channels": [8, 16, 16], "encoder_ffn_dim": 32, "encoder_attention_heads": 2}
        sizes |= {"d_model": 8, "num_queries": 10, "decoder_in_channels": [8, 8, 8], "decoder_ffn_dim": 32, "decoder_layers": 1}
        sizes |= {"decoder_attention_heads": 2, "decoder_n_points": 2, "num_denoising": 0, "num_labels": classes}
        self.rtdetr = RTDetrForObjectDetection(RTDetrConfig(backbone_config=backbone, **sizes, attn_implementation="eager"))

    def forward(self, x):
        # The file has no detach: what it computes is differentiated whole.
        with mock.patch.object(torch.Tensor, "detach", lambda tensor: tensor):
            out = self.rtdetr(pixel_values=x)
        return out.logits, out.pred_boxes

    def head(self, x):
        z, boxes = self(x)
        return pair(targets.Detection, x, z, z.sigmoid(), boxes)
