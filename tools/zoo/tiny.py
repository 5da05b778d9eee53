"""Small members of the model families, which the tests explain, with the reason for the default layer of each."""

import torch

FIRST_NORM = "the first norm of the last block: behind it the tokens of the picture meet once more before the score is read"
LAST_MAP = "the last feature map before the pooling"


def timm_module(name):
    import importlib

    return importlib.import_module(f"timm.models.{name}")


def vit(**extra):
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 10, **extra}
    return timm_module("vision_transformer").VisionTransformer(**settings)


def deit():
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 10}
    return timm_module("deit").VisionTransformerDistilled(**settings)


def beit():
    settings = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "num_classes": 10,
        "use_rel_pos_bias": True,
        "init_values": 0.1,
    }
    return timm_module("beit").Beit(**settings)


def coat(**extra):
    settings = {
        "img_size": 64,
        "patch_size": 4,
        "embed_dims": (16, 16, 16, 16),
        "serial_depths": (1, 1, 1, 2),
        "num_heads": 2,
        "mlp_ratios": (2, 2, 2, 2),
        "num_classes": 10,
        "crpe_window": {3: 1, 5: 1},
        **extra,
    }
    return timm_module("coat").CoaT(**settings)


def swin():
    settings = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "num_classes": 10}
    return timm_module("swin_transformer").SwinTransformer(**settings)


def swin_v2():
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    settings = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": [4, 4], "num_classes": 10}
    return SwinTransformer(**settings, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2, stochastic_depth_prob=0)


def maxvit():
    from torchvision.models.maxvit import MaxVit

    settings = {
        "input_size": (32, 32),
        "stem_channels": 8,
        "partition_size": 4,
        "block_channels": [8, 16],
        "block_layers": [1, 1],
        "head_dim": 4,
    }
    return MaxVit(**settings, stochastic_depth_prob=0, num_classes=10)


def hiera():
    settings = {
        "img_size": (32, 32),
        "embed_dim": 8,
        "num_heads": 1,
        "stages": (1, 1, 2),
        "q_pool": 2,
        "mask_unit_size": (4, 4),
        "num_classes": 10,
    }
    return timm_module("hiera").Hiera(**settings, patch_kernel=(3, 3), patch_stride=(2, 2), patch_padding=(1, 1))


def nest():
    settings = {
        "img_size": 32,
        "patch_size": 2,
        "num_levels": 3,
        "embed_dims": (8, 8, 16),
        "num_heads": (1, 1, 2),
        "depths": (1, 1, 2),
        "num_classes": 10,
    }
    return timm_module("nest").Nest(**settings)


def convnext():
    return timm_module("convnext").ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 8, 16, 16), num_classes=10)


def mixer():
    return timm_module("mlp_mixer").MlpMixer(img_size=32, patch_size=8, num_blocks=3, embed_dim=16, num_classes=10)


class Recurrent(torch.nn.Module):
    """Convolutions whose columns are the steps of a recurrent network, as in text and speech recognition.

    Text is one row high behind the convolutions, and its scores are averaged over the steps; of a spectrogram the rows are
    joined with the channels, and the last step is read.
    """

    def __init__(self, network, text):
        super().__init__()
        part = lambda ins, outs, stride: [torch.nn.Conv2d(ins, outs, 3, stride, 1), torch.nn.BatchNorm2d(outs), torch.nn.ReLU()]
        self.cnn = torch.nn.Sequential(*part(3, 8, 2), *part(8, 8, (2, 1)), *part(8, 12, (2, 1)))
        self.pool = torch.nn.MaxPool2d((4, 1)) if text else torch.nn.Identity()
        self.rnn = network(12 if text else 48, 6, bidirectional=text, batch_first=not text)
        self.fc = torch.nn.Linear(12 if text else 6, 10)
        self.text = text

    def forward(self, x):
        x = self.pool(self.cnn(x))
        if self.text:
            return self.fc(self.rnn(x.squeeze(2).permute(2, 0, 1))[0]).mean(0)
        return self.fc(self.rnn(x.flatten(1, 2).transpose(1, 2))[0][:, -1])


def mobilenet_v2():
    from torchvision.models import MobileNetV2

    inverted = [[1, 8, 1, 1], [3, 8, 2, 2], [3, 16, 2, 2]]
    return MobileNetV2(num_classes=10, width_mult=0.25, inverted_residual_setting=inverted, round_nearest=4)


def densenet():
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=10)


def resnet():
    resnet = timm_module("resnet")
    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], channels=(4, 4, 8, 8), stem_width=8, num_classes=10)


def efficientnet():
    from functools import partial

    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    block = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [block(1, 3, 1, 8, 8, 1), block(3, 3, 2, 8, 12, 2), block(3, 5, 2, 12, 16, 1)]
    return EfficientNet(settings, dropout=0.0, stochastic_depth_prob=0.0, num_classes=10, last_channel=32)


def segmentation():
    from torchvision.models.segmentation.lraspp import LRASPP

    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 4, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
            self.deep = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, 2, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU())

        def forward(self, x):
            low = self.stem(x)
            return {"low": low, "high": self.deep(low)}

    return LRASPP(Backbone(), 8, 16, num_classes=4, inter_channels=16)


def of_transformers(kind, **extra):
    import transformers

    config = {"CLIP": "CLIPConfig", "Siglip": "SiglipConfig"}.get(kind, f"{kind}Config")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
    }
    if kind in ("CLIP", "Siglip"):
        made = getattr(transformers, config)(vision_config=sizes, num_labels=10)
    else:
        made = getattr(transformers, config)(**{**sizes, **extra}, num_labels=10)
    return getattr(transformers, f"{kind}ForImageClassification")(made)


# Name, what it stands for, the default layer's reason, height and width, constructor, the default layer (of each exporter, where no module
# makes it); an early layer, where the one a third of the way in is read by a norm alone, so that its maps are nothing but rounding,
# or lies in windows.
TINY = [
    ("resnet", "ResNet and what is built like it", LAST_MAP + ", of the last block, after its relu", (32, 32), resnet, "layer3.0"),
    (
        "densenet",
        "DenseNet",
        LAST_MAP + ": the relu behind the last norm, which no module calls",
        (64, 64),
        densenet,
        {"legacy": "/Relu_output_0", "dynamo": "relu_10"},
    ),
    ("mobilenet_v2", "MobileNet", LAST_MAP + ", of the last convolution, after its relu6", (32, 32), mobilenet_v2, "features.6"),
    ("efficientnet", "EfficientNet", LAST_MAP + ", of the last convolution, after its activation", (32, 32), efficientnet, "features.4"),
    (
        "convnext",
        "ConvNeXt",
        LAST_MAP + ", of the last block; the norm behind the pooling has no space",
        (64, 64),
        convnext,
        "stages.3.blocks.0",
        "stages.2.blocks.0",
    ),
    ("lraspp", "segmentation", LAST_MAP + " of the head, at its own size", (64, 64), segmentation, "classifier"),
    ("crnn", "CRNN", LAST_MAP + " to one row", (32, 48), lambda: Recurrent(torch.nn.LSTM, text=True), "cnn", "cnn.5"),
    ("crnn_gru", "CRNN of GRUs", LAST_MAP + " to one row", (32, 48), lambda: Recurrent(torch.nn.GRU, text=True), "cnn", "cnn.5"),
    (
        "spectrogram",
        "LSTM over a spectrogram",
        "the last feature map before the recurrent network",
        (32, 24),
        lambda: Recurrent(torch.nn.LSTM, text=False),
        "cnn",
        "cnn.5",
    ),
    ("vit", "ViT with a class token", FIRST_NORM, (32, 32), vit, "blocks.2.norm1"),
    (
        "vit_registers",
        "DINOv2 with registers, on pictures that are not square",
        FIRST_NORM,
        (32, 48),
        lambda: vit(img_size=(32, 48), reg_tokens=4, init_values=0.1),
        "blocks.2.norm1",
    ),
    (
        "vit_mean",
        "ViT without a class token, its tokens averaged",
        FIRST_NORM,
        (32, 32),
        lambda: vit(class_token=False, global_pool="avg"),
        "blocks.2.norm1",
    ),
    ("deit", "DeiT, with a token of distillation", FIRST_NORM, (32, 32), deit, "blocks.2.norm1"),
    ("beit", "BEiT", FIRST_NORM, (32, 32), beit, "blocks.2.norm1"),
    ("coat_lite", "CoaT-Lite, with convolutions beside its attention", FIRST_NORM, (64, 64), coat, "serial_blocks4.1.norm1"),
    (
        "coat",
        "CoaT, whose class tokens of three scales are joined",
        "the first norm of the last block, at the coarsest scale",
        (64, 64),
        lambda: coat(parallel_depth=2),
        "parallel_blocks.1.norm14",
    ),
    ("swin", "Swin", FIRST_NORM, (32, 32), swin, "layers.1.blocks.1.norm1"),
    (
        "swin_v2",
        "Swin v2",
        "what the attention of the last block reads: the norms stand behind attention and MLP",
        (32, 32),
        swin_v2,
        "features.3.0",
        "features.1.0",
    ),
    (
        "maxvit",
        "MaxViT",
        "the first norm of the last block's grid attention, its windows put back in place",
        (32, 32),
        maxvit,
        "blocks.1.layers.0.layers.grid_attention.attn_layer.0",
        "blocks.0.layers.0.layers.window_attention",
    ),
    ("hiera", "Hiera", FIRST_NORM + "; its tokens are put back in place", (32, 32), hiera, "blocks.3.norm1"),
    ("nest", "NesT", FIRST_NORM, (32, 32), nest, "levels.2.transformer_encoder.1.norm1"),
    ("mixer", "MLP-Mixer, which has no attention", "the norm whose tokens are averaged", (32, 32), mixer, "norm"),
    ("hf_vit", "ViT of Hugging Face", FIRST_NORM, (32, 32), lambda: of_transformers("ViT"), "vit.layers.2.layernorm_before"),
    (
        "hf_dinov2",
        "DINOv2 of Hugging Face",
        FIRST_NORM,
        (32, 32),
        lambda: of_transformers("Dinov2WithRegisters", num_register_tokens=2),
        "dinov2_with_registers.encoder.layer.2.norm1",
    ),
    ("hf_clip", "CLIP's vision model", FIRST_NORM, (32, 32), lambda: of_transformers("CLIP"), "vision_model.encoder.layers.2.layer_norm1"),
    (
        "hf_siglip",
        "SigLIP's vision model",
        FIRST_NORM,
        (32, 32),
        lambda: of_transformers("Siglip"),
        "vision_model.encoder.layers.2.layer_norm1",
    ),
]
