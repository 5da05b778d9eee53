//! Hugging Face `preprocessor_config.json` and `config.json`. `gradcam.preprocess` has the same keys.
//!
//! A processor saves only the values that its user changed, so missing keys have the defaults of its class.
//! <https://huggingface.co/docs/transformers/main_classes/image_processor>

use serde_json::Value;

use super::json::{self, JsonFields};
use super::origin::SourceSettings;
use super::{Channels, Crop, CropRounding, Geometry, Layout, Resize, labels};
use crate::{Filter, ImageError};

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
const RAW: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);

/// The default `size` of a class. It also decides what an integer `size` means (`default_to_square`).
#[derive(Clone, Copy)]
enum DefaultSize {
    Square(u32),
    Short(u32),
}

/// The defaults of one class of image processors.
struct ProcessorClass {
    name: &'static str,
    size: DefaultSize,
    filter: Filter,
    crop: Option<u32>,
    mean_std: ([f32; 3], [f32; 3]),
}

const fn class(
    name: &'static str,
    size: DefaultSize,
    filter: Filter,
    crop: Option<u32>,
    mean_std: ([f32; 3], [f32; 3]),
) -> ProcessorClass {
    ProcessorClass { name, size, filter, crop, mean_std }
}

/// The known classes, by name without the endings `ImageProcessor`, `ImageProcessorFast`, `ImageProcessorPil` and `FeatureExtractor`.
#[rustfmt::skip]
const CLASSES: &[ProcessorClass] = &[
    class("Beit", DefaultSize::Square(256), Filter::Bicubic, Some(224), HALF),
    class("Bit", DefaultSize::Short(224), Filter::Bicubic, Some(224), CLIP),
    class("Blip", DefaultSize::Square(384), Filter::Bicubic, None, CLIP),
    class("CLIP", DefaultSize::Short(224), Filter::Bicubic, Some(224), CLIP),
    class("ChineseCLIP", DefaultSize::Short(224), Filter::Bicubic, Some(224), CLIP),
    class("ConvNext", DefaultSize::Short(384), Filter::Bilinear, None, HALF),
    class("DPT", DefaultSize::Square(384), Filter::Bicubic, None, HALF),
    class("DeiT", DefaultSize::Square(256), Filter::Bicubic, Some(224), HALF),
    class("EfficientNet", DefaultSize::Square(346), Filter::Nearest, None, HALF),
    class("Levit", DefaultSize::Short(224), Filter::Bicubic, Some(224), IMAGENET),
    class("MobileNetV1", DefaultSize::Short(256), Filter::Bilinear, Some(224), HALF),
    class("MobileNetV2", DefaultSize::Short(256), Filter::Bilinear, Some(224), HALF),
    class("MobileViT", DefaultSize::Short(224), Filter::Bilinear, Some(256), RAW),
    class("PoolFormer", DefaultSize::Short(224), Filter::Bicubic, Some(224), IMAGENET),
    class("Segformer", DefaultSize::Square(512), Filter::Bilinear, None, IMAGENET),
    class("Siglip", DefaultSize::Square(224), Filter::Bicubic, None, HALF),
    class("ViT", DefaultSize::Square(224), Filter::Bilinear, None, HALF),
];

fn class_of(fields: JsonFields<'_>) -> Result<Option<&'static ProcessorClass>, ImageError> {
    let Some(name) =
        fields.text("image_processor_type")?.or(fields.text("feature_extractor_type")?)
    else {
        return Ok(None);
    };
    let short = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    Ok(CLASSES.iter().find(|class| class.name == short))
}

/// The settings of the keys, completed by the defaults of the class if it is known.
pub(super) fn preprocess(fields: JsonFields<'_>) -> Result<SourceSettings, ImageError> {
    let class = class_of(fields)?;
    let name = class.map_or("", |class| class.name);
    let rescale = if fields.bool("do_rescale")? == Some(false) {
        1.0
    } else {
        fields.positive("rescale_factor", 1e6)?.unwrap_or(1.0 / 255.0)
    };
    let normalize = fields.bool("do_normalize")?.unwrap_or(name != "MobileViT");
    let default = |pick: fn(&ProcessorClass) -> [f32; 3]| class.map(|class| pick(class).to_vec());
    let (mut mean, mut std) = if normalize {
        (
            fields.per_channel("image_mean", false)?.or_else(|| default(|class| class.mean_std.0)),
            fields.per_channel("image_std", true)?.or_else(|| default(|class| class.mean_std.1)),
        )
    } else {
        (Some(vec![0.0]), Some(vec![1.0]))
    };
    if name == "EfficientNet" {
        // This class centers values before the factor, and divides by `image_std` twice.
        if fields.bool("rescale_offset")?.unwrap_or(false) {
            let offset = (127.5 * rescale) as f32;
            mean.iter_mut().flatten().for_each(|mean| *mean += offset);
        }
        if normalize && fields.bool("include_top")?.unwrap_or(true) {
            std.iter_mut().flatten().for_each(|std| *std *= *std);
        }
    }
    let flip = fields.bool("do_flip_channel_order")?.unwrap_or(name == "MobileViT");
    let channels = match fields.text("channel_order")? {
        None => flip.then_some(Channels::Bgr),
        Some("RGB") => Some(Channels::Rgb),
        Some("BGR") => Some(Channels::Bgr),
        Some("grey" | "gray" | "L") => Some(Channels::Gray),
        Some("RGBA") => Some(Channels::Rgba),
        Some("LA") => Some(Channels::GrayAlpha),
        Some(_) => return Err(fields.wrong("channel_order", "RGB, BGR, grey, RGBA or LA")),
    };
    let layout = match fields.text("data_format")? {
        None => None,
        Some("channels_first") => Some(Layout::Nchw),
        Some("channels_last") => Some(Layout::Nhwc),
        Some(_) => return Err(fields.wrong("data_format", "channels_first or channels_last")),
    };
    Ok(SourceSettings {
        geometry: geometry(fields, class)?,
        filter: filter(fields)?.or(Some(class.map_or(Filter::Bilinear, |class| class.filter))),
        rescale: Some(rescale),
        mean,
        std,
        layout,
        channels,
    })
}

fn filter(fields: JsonFields<'_>) -> Result<Option<Filter>, ImageError> {
    let expected = "0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box or 5 hamming";
    let Some(value) = fields.get("resample") else {
        return Ok(None);
    };
    let filter = match (value.as_u64(), value.as_str()) {
        (Some(0), _) => Some(Filter::Nearest),
        (Some(1), _) => Some(Filter::Lanczos),
        (Some(2), _) => Some(Filter::Bilinear),
        (Some(3), _) => Some(Filter::Bicubic),
        (Some(4), _) => Some(Filter::Box),
        (Some(5), _) => Some(Filter::Hamming),
        (_, Some(name)) => name.parse().ok(),
        _ => None,
    };
    filter.map(Some).ok_or_else(|| fields.wrong("resample", expected))
}

fn geometry(
    fields: JsonFields<'_>,
    class: Option<&'static ProcessorClass>,
) -> Result<Option<Geometry>, ImageError> {
    let name = class.map_or("", |class| class.name);
    let crop_given = fields.get("crop_size").is_some();
    let crops = fields
        .bool("do_center_crop")?
        .unwrap_or_else(|| class.map_or(crop_given, |class| class.crop.is_some()));
    let crop_size = match (size(fields, "crop_size", true)?, class.and_then(|class| class.crop)) {
        _ if !crops => None,
        (Some(Resize::Exact { width, height }), _) => Some((width, height)),
        (Some(_), _) => return Err(fields.wrong("crop_size", "pixels, or height and width")),
        (None, Some(side)) => Some((side, side)),
        (None, None) => {
            let message =
                format!("{}: do_center_crop is true, but crop_size is missing", fields.place);
            return Err(json::metadata(message));
        }
    };
    let crop = |(width, height)| Crop { width, height, rounding: CropRounding::Down };
    let square = fields
        .bool("default_to_square")?
        .unwrap_or_else(|| !class.is_some_and(|class| matches!(class.size, DefaultSize::Short(_))));
    let given = size(fields, "size", square)?.or(class.map(|class| match class.size {
        DefaultSize::Square(side) => Resize::Exact { width: side, height: side },
        DefaultSize::Short(size) => Resize::ShortSide { size, longest: None },
    }));
    let resize = match (fields.bool("do_resize")?, given) {
        (Some(false), _) => Resize::None,
        (_, Some(resize)) => resize,
        (_, None) if crop_size.is_none() => return Ok(None),
        (_, None) => Resize::None,
    };
    let plain = Geometry { resize, crop: crop_size.map(crop), fill: [0; 3] };
    let Resize::ShortSide { size, longest: None } = resize else {
        return Ok(Some(plain));
    };
    let enlarged =
        |share: f64| Resize::ShortSide { size: (f64::from(size) / share) as u32, longest: None };
    Ok(Some(match name {
        "ConvNext" if size >= 384 => Geometry::squash(size, size),
        "ConvNext" => {
            let share = fields.positive("crop_pct", 1.0)?.unwrap_or(224.0 / 256.0);
            Geometry { resize: enlarged(share), crop: Some(crop((size, size))), ..plain }
        }
        "PoolFormer" => {
            let share = fields.positive("crop_pct", 1.0)?.unwrap_or(0.9);
            Geometry { resize: enlarged(share), ..plain }
        }
        // LeViT always resizes to 256/224 of its size.
        "Levit" => {
            let size = (256.0 / 224.0 * f64::from(size)) as u32;
            Geometry { resize: Resize::ShortSide { size, longest: None }, ..plain }
        }
        _ => plain,
    }))
}

/// Reads `size` or `crop_size`: pixels, or an object of height and width, or of shortest and longest edge.
fn size(fields: JsonFields<'_>, key: &str, square: bool) -> Result<Option<Resize>, ImageError> {
    let Some(value) = fields.get(key) else {
        return Ok(None);
    };
    let place = format!("{}: {key}", fields.place);
    let Value::Object(map) = value else {
        let pair = fields.sides(key, 2).ok().flatten();
        return Ok(Some(match (json::side(value), pair) {
            (Some(side), _) if square => Resize::Exact { width: side, height: side },
            (Some(size), _) => Resize::ShortSide { size, longest: None },
            (None, Some(pair)) => Resize::Exact { width: pair[1], height: pair[0] },
            _ => return Err(fields.wrong(key, "pixels, or height and width, or shortest_edge")),
        }));
    };
    let inner = JsonFields { place: &place, map };
    let (height, width) = (inner.side("height")?, inner.side("width")?);
    let (short, longest) = (inner.side("shortest_edge")?, inner.side("longest_edge")?);
    match (height, width, short) {
        (Some(height), Some(width), _) => Ok(Some(Resize::Exact { width, height })),
        (None, None, Some(size)) => Ok(Some(Resize::ShortSide { size, longest })),
        _ => Err(fields.wrong(key, "height and width, or shortest_edge, or pixels")),
    }
}

/// The labels `id2label` of `config.json`. The placeholders `LABEL_0`, `LABEL_1`, … do not count.
pub(super) fn labels(config: JsonFields<'_>) -> Result<Option<Vec<String>>, ImageError> {
    let Some(id2label) = config.get("id2label") else {
        return Ok(None);
    };
    let labels = labels::from_value(&format!("{}: id2label", config.place), id2label)?;
    let placeholders = labels.iter().enumerate().all(|(i, label)| *label == format!("LABEL_{i}"));
    Ok((!placeholders).then_some(labels))
}
