"""Models with random weights from a seed, prepared for the comparison."""

import torch
from torch import nn

from zoo.names import SIZES


def build(source, name):
    """The model in evaluation mode, and the side of its square input."""
    torch.manual_seed(0)
    if source == "torchvision":
        from torchvision import models

        extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model, side = getattr(models, name)(weights=None, **extra), 299 if name == "inception_v3" else 256 if name == "swin_v2_t" else 224
    elif source == "torchvision segmentation":
        import torchvision.models.segmentation as models

        model, side = getattr(models, name)(weights=None, weights_backbone=None), 224
    elif source == "timm":
        import timm

        model = timm.create_model(name, pretrained=False)
        if getattr(model, "num_classes", 1000) == 0:
            model = timm.create_model(name, pretrained=False, num_classes=1000)
        side = SIZES.get(name) or model.pretrained_cfg["input_size"][-1]
    else:
        model, side = of_transformers(name)
    return prepared(model, side, side), side


def prepared(model, *sides):
    """The model in evaluation mode; nothing makes every gradient zero, and nothing works in place."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    # Biases and last norms begin at zero, layer scales near it.
    for parameter in model.parameters():
        largest = float(parameter.detach().abs().max()) if parameter.ndim else 1.0
        if largest < 1e-3:
            nn.init.normal_(parameter, std=0.1 if largest else 0.02)
    calibrate(model, *sides)
    return model.eval()


def of_transformers(name):
    """Small configurations: the graph of the family, not its size."""
    import transformers

    kind = name.replace("ForImageClassification", "").replace("VisionModelWithProjection", "")
    config = getattr(transformers, {"CLIP": "CLIPConfig", "Siglip": "SiglipConfig"}.get(kind, f"{kind}Config"))
    if name == "CLIPVisionModelWithProjection":
        config = transformers.CLIPVisionConfig
    sizes = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 384}
    side = 224
    if kind in ("ViT", "DeiT", "Beit", "Dinov2", "Dinov2WithRegisters"):
        made = config(**sizes, image_size=side, num_labels=1000, **({"patch_size": 14} if kind.startswith("Dinov2") else {}))
    elif kind in ("CLIP", "Siglip") and name != "CLIPVisionModelWithProjection":
        made = config(vision_config={**sizes, "image_size": side, "patch_size": 16}, num_labels=1000)
    elif name == "CLIPVisionModelWithProjection":
        made = config(**sizes, image_size=side, patch_size=16, projection_dim=128)
    else:
        made = config(num_labels=1000)
    return getattr(transformers, name)(made), side


def calibrate(model, *sides):
    """Batch norms take the statistics of four random images."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    model.train()
    for module in model.modules():
        if module in norms:
            module.momentum = None
            module.reset_running_stats()
        elif isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        model(torch.randn(4, 3, *sides, generator=torch.Generator().manual_seed(1)))


def scores(output):
    """The scores of what a model returns."""
    while not torch.is_tensor(output):
        output = output.get("logits", output.get("out", next(iter(output.values())))) if isinstance(output, dict) else output[0]
    return output
