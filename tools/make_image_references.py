# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "grad-cam==1.5.7", "numpy==2.4.6", "opencv-python-headless==5.0.0.93", "pillow==13.0.0",
#     "torch==2.15.0", "torchvision==0.29.2", "matplotlib==3.11.2",
# ]
# ///
"""Write crates/gradcam-image/tests/data: what Pillow, torchvision, PyTorch and pytorch-grad-cam make of
small pictures and maps. Large results are kept as SHA-256 digests of their little-endian bytes.

Run from the root of the repository: uv run tools/make_image_references.py
"""

import hashlib
import io
import json
import pathlib
import struct
import zlib

import cv2
import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image, ImageOps
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.image import scale_cam_image, show_cam_on_image
from torchvision.transforms import InterpolationMode

OUT = pathlib.Path("crates/gradcam-image/tests/data")
ASSETS = pathlib.Path("crates/gradcam-cli/assets")
FILTERS = {name: Image.Resampling[name.upper()] for name in ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]}


def digest(array):
    array = np.ascontiguousarray(array)
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def synthetic(width, height):
    """The image that the Rust tests make by the same formula."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(7 * x + 3 * y) % 256, (x * x + 5 * y) % 256, (x * y) % 251], -1).astype(np.uint8)


def photos():
    yield "cat_over_coffee", Image.open(ASSETS / "cat_over_coffee.png").convert("RGB")
    yield "cat_beside_coffee", Image.open(ASSETS / "cat_beside_coffee.png").convert("RGB")
    yield "synthetic 97x61", Image.fromarray(synthetic(97, 61))


def resize_rows():
    sizes = {"synthetic 97x61": [(40, 25), (31, 120), (300, 200), (97, 30), (50, 61), (97, 61), (1, 1)]}
    for name, photo in photos():
        for width, height in sizes.get(name, [(256, 171), (256, 256), (600, 530)]):
            for filter_name, filter_ in FILTERS.items():
                resized = np.asarray(photo.resize((width, height), filter_))
                yield {"photo": name, "filter": filter_name, "width": width, "height": height, "sha256": digest(resized)}


def timm_border(size, fill, interpolation):
    """timm's ResizeKeepRatio(longest=1) and CenterCropOrPad."""

    def run(photo):
        ratio = max(photo.height / size, photo.width / size)
        width, height = round(photo.width / ratio), round(photo.height / ratio)
        resized = np.asarray(photo.resize((width, height), interpolation))
        canvas = np.empty((size, size, 3), np.uint8)
        canvas[:] = fill
        top, left = (size - height) // 2, (size - width) // 2
        canvas[top : top + height, left : left + width] = resized
        return Image.fromarray(canvas)

    return run


def apply_rows():
    imagenet = [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    lite0 = [T.PILToTensor(), lambda x: (x.float() - 127) / 128]
    half = [T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]
    bilinear, bicubic = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
    pipelines = {
        "imagenet 224": [T.Resize(256, bilinear), T.CenterCrop(224), *imagenet],
        "lite0 224": [T.Resize(256, bicubic), T.CenterCrop(224), *lite0],
        "imagenet 27 of 32": [T.Resize(32, bicubic), T.CenterCrop(27), *imagenet],
        "squash 31x45": [T.Resize((45, 31), bilinear), *half],
        "crop 120 of 64": [T.Resize(64, bilinear), T.CenterCrop(120), *half],
        "bgr 48": [
            T.Resize(48, bilinear),
            T.CenterCrop(48),
            T.PILToTensor(),
            lambda x: x.float()[[2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0])[:, None, None],
        ],
        "grey 28": [T.Grayscale(), T.Resize(28, bilinear), T.CenterCrop(28), T.ToTensor()],
        "border 64": [timm_border(64, (124, 116, 104), Image.Resampling.BICUBIC), *imagenet],
    }

    # Hugging Face rounds half pixels of the offset down: `int((height - crop_height) / 2.0)`.
    def crop_down(photo):
        left, top = (photo.width - 25) // 2, (photo.height - 25) // 2
        return photo.crop((left, top, left + 25, top + 25))

    pipelines["hugging face 25 of 32"] = [T.Resize(32, bilinear), crop_down, *half]
    for name, photo in photos():
        for pipeline, steps in pipelines.items():
            tensor = T.Compose(steps)(photo)
            yield {
                "photo": name,
                "pipeline": pipeline,
                "shape": list(tensor.shape),
                "sha256": digest(tensor.numpy()),
                "first": float(tensor.flatten()[0]),
            }


def floats(array):
    return [float(v) for v in np.asarray(array, np.float32).ravel()]


def interpolate_rows(rng):
    for (h, w), (height, width) in [((3, 5), (7, 11)), ((5, 3), (2, 2)), ((1, 1), (3, 2)), ((4, 4), (4, 4)), ((7, 7), (24, 17))]:
        x = rng.normal(size=(h, w)).astype(np.float32)
        y = torch.nn.functional.interpolate(
            torch.from_numpy(x).double()[None, None], size=(height, width), mode="bilinear", align_corners=False
        )[0, 0]
        yield {"from": [h, w], "to": [height, width], "map": floats(x), "result": floats(y)}


def heatmap_rows(rng):
    """compute_cam_per_layer from the map on, then the library's own aggregate_multi_layers."""
    cases = [
        ("one layer", [(7, 7)], (18, 25), 0.0),
        ("mostly negative", [(5, 4)], (11, 9), -1.5),
        ("all positive", [(6, 5)], (14, 12), 9.0),
        ("all negative", [(3, 3)], (6, 6), -100.0),
        ("two layers", [(4, 4), (8, 8)], (16, 20), 0.3),
        ("three layers", [(3, 5), (6, 10), (12, 20)], (12, 20), 0.0),
    ]
    for name, shapes, (height, width), shift in cases:
        maps = [(rng.normal(size=shape) + shift).astype(np.float32) for shape in shapes]
        layers = [scale_cam_image(np.maximum(m[None], 0), (width, height))[:, None, :] for m in maps]
        result = BaseCAM.aggregate_multi_layers(None, layers)[0]
        yield {
            "name": name,
            "maps": [{"shape": list(m.shape), "values": floats(m)} for m in maps],
            "size": [height, width],
            "result": floats(result),
        }


def overlay_rows():
    photo = synthetic(97, 61)
    y, x = np.mgrid[0:61, 0:97]
    mask = ((13 * x + 29 * y) % 256).astype(np.float32) / np.float32(255)
    maps = {"jet": cv2.COLORMAP_JET, "viridis": cv2.COLORMAP_VIRIDIS, "turbo": cv2.COLORMAP_TURBO}
    for name, colormap in maps.items():
        for weight in [0.5, 0.25, 0.1, 0.9]:
            shown = show_cam_on_image(np.float32(photo) / 255, mask, use_rgb=True, colormap=colormap, image_weight=weight)
            yield {"colormap": name, "alpha": 1 - weight, "sha256": digest(shown)}


def save(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif_files():
    """The same image eight times, stored rotated and flipped, with the orientation that undoes it."""
    colors = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250), (240, 240, 240)]
    blocks = np.array(colors, np.uint8).reshape(2, 3, 3).repeat(8, 0).repeat(8, 1)
    upright = Image.fromarray(blocks)
    flip, turn = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180
    undo = [
        None,
        flip,
        turn,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ]
    for orientation, stored in enumerate(undo, 1):
        picture = upright if stored is None else upright.transpose(stored)
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind, options in [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}), ("WEBP", {"lossless": True})]:
            data = save(picture, kind, exif=exif, **options)
            turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            assert np.abs(np.asarray(turned).astype(int) - blocks).max() <= (2 if kind == "JPEG" else 0)
            (OUT / "exif" / f"{orientation}.{kind.lower()}").write_bytes(data)
    (OUT / "exif" / "upright.png").write_bytes(save(upright, "PNG"))


def mode_rows():
    """One small image in every mode of the three formats; `rgb` is Pillow's convert("RGB")."""
    rgb = Image.fromarray(synthetic(5, 3))
    grey16 = (np.arange(15, dtype=np.uint16) * 4400 + 7).reshape(3, 5)
    alpha = Image.fromarray((np.arange(15, dtype=np.uint8) * 17).reshape(3, 5))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    grey_alpha = rgb.convert("L")
    grey_alpha.putalpha(alpha)
    palette = rgb.quantize(8)
    encode = lambda array: cv2.imencode(".png", array)[1].tobytes()
    color16 = np.stack([grey16, grey16[::-1], grey16.T.reshape(3, 5)], -1)
    flat = Image.fromarray(np.array([[200, 30, 90], [10, 180, 60]], np.uint8)[None].repeat(8, 0).repeat(8, 1))
    files = {
        "grey.png": save(rgb.convert("L"), "PNG"),
        "grey_alpha.png": save(grey_alpha, "PNG"),
        "rgba.png": save(rgba, "PNG"),
        "rgba.webp": save(rgba, "WEBP", lossless=True, exact=True),
        "palette.png": save(palette, "PNG"),
        "palette_transparent.png": save(palette, "PNG", transparency=2),
        "one_bit.png": save(rgb.convert("1"), "PNG"),
        "rgb16.png": encode(color16[..., ::-1]),
        "rgba16.png": encode(np.concatenate([color16[..., ::-1], grey16[..., None]], -1)),
        "grey16.png": save(Image.fromarray(grey16), "PNG"),
        "grey.jpeg": save(flat.convert("L"), "JPEG", quality=100),
        "progressive.jpeg": save(flat, "JPEG", quality=100, subsampling=0, progressive=True),
        "cmyk.jpeg": save(flat.convert("CMYK"), "JPEG", quality=100, subsampling=0),
    }
    for name, data in files.items():
        (OUT / "modes" / name).write_bytes(data)
        picture = Image.open(io.BytesIO(data))
        pixels = np.asarray(picture.convert("RGB"))
        if picture.mode == "I;16":  # Pillow clips it at 255; the high byte is kept instead
            pixels = np.stack([grey16 >> 8] * 3, -1).astype(np.uint8)
        yield {"file": name, "width": picture.width, "height": picture.height, "rgb": pixels.tobytes().hex()}


def format_rows():
    """Small images in the formats beside PNG, JPEG and WebP; of several frames or pages the first."""
    rgb = Image.fromarray(synthetic(5, 3))
    grey16 = (np.arange(15, dtype=np.uint16) * 4400 + 7).reshape(3, 5)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((np.arange(15, dtype=np.uint8) * 17).reshape(3, 5)))
    palette = rgb.quantize(8)
    second = palette.transpose(Image.Transpose.ROTATE_180)
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "palette.gif": save(palette, "GIF"),
        "transparent.gif": save(palette, "GIF", transparency=2),
        "moving.gif": save(palette, "GIF", save_all=True, append_images=[second], duration=100),
        "rgb.bmp": save(rgb, "BMP"),
        "palette.bmp": save(palette, "BMP"),
        "one_bit.bmp": save(rgb.convert("1"), "BMP"),
        "rgb.tiff": save(rgb, "TIFF"),
        "lzw.tiff": save(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tiff": save(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "pages.tiff": save(rgb, "TIFF", save_all=True, append_images=[second.convert("RGB")]),
        "grey.tiff": save(rgb.convert("L"), "TIFF"),
        "grey16.tiff": save(Image.fromarray(grey16), "TIFF"),
        "rgba.tiff": save(rgba, "TIFF"),
        "turned.tiff": save(rgb, "TIFF", exif=turned),
    }
    for name, data in files.items():
        (OUT / "formats" / name).write_bytes(data)
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        pixels = np.asarray(picture.convert("RGB"))
        if picture.mode == "I;16":  # Pillow clips it at 255; the high byte is kept instead
            pixels = np.stack([grey16 >> 8] * 3, -1).astype(np.uint8)
        alpha = None
        if picture.has_transparency_data:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3].tobytes().hex()
        yield {"file": name, "width": picture.width, "height": picture.height, "rgb": pixels.tobytes().hex(), "alpha": alpha}


def alpha_rows():
    """Resizes of a photo with alpha, in colors and in gray."""
    photo = Image.fromarray(synthetic(23, 17))
    y, x = np.mgrid[0:17, 0:23]
    photo.putalpha(Image.fromarray(((11 * x + 13 * y) % 256).astype(np.uint8)))
    (OUT / "alpha.png").write_bytes(save(photo, "PNG"))
    for mode in ["RGBA", "LA"]:
        for width, height in [(23, 17), (9, 7), (40, 30)]:
            for name, filter_ in FILTERS.items():
                resized = np.asarray(photo.convert(mode).resize((width, height), filter_))
                yield {"mode": mode, "filter": name, "width": width, "height": height, "sha256": digest(resized)}


def bombs():
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    png = lambda w, h: (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )
    (OUT / "bad" / "bomb_50000x50000.png").write_bytes(png(50000, 50000))
    (OUT / "bad" / "no_width.png").write_bytes(png(0, 7))
    lossless = b"VP8L" + struct.pack("<IBI", 10, 0x2F, 16382 | 16382 << 14) + b"\0" * 5
    (OUT / "bad" / "bomb_16383x16383.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(lossless)) + b"WEBP" + lossless)


for folder in ["exif", "modes", "formats", "bad"]:
    (OUT / folder).mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(20)
tables = {
    "resize": resize_rows(),
    "apply": apply_rows(),
    "interpolate": interpolate_rows(rng),
    "heatmap": heatmap_rows(rng),
    "overlay": overlay_rows(),
    "modes": mode_rows(),
    "formats": format_rows(),
    "alpha": alpha_rows(),
}
for table, rows in tables.items():
    lines = ",\n".join(json.dumps(row) for row in rows)
    (OUT / f"{table}.json").write_text(f"[\n{lines}\n]\n")
exif_files()
bombs()
