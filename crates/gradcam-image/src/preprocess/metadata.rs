//! Metadata in the ONNX file: `gradcam.*`, the keys of ultralytics, and `Image.*` of the ONNX specification.

use super::json::{self, JsonFields};
use super::origin::{SettingOrigin, SourceSettings};
use super::task::{self, Task};
use super::{Channels, Geometry, hugging_face, labels, literal};
use crate::{Filter, ImageError};

/// The model's `metadata_props`.
#[derive(Clone, Copy)]
pub(super) struct MetadataProps<'a>(pub(super) &'a [(String, String)]);

impl<'a> MetadataProps<'a> {
    fn get(self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Looks up a key of the ONNX specification, which ignores case.
    fn get_any_case(self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.as_str())
    }

    /// `gradcam.preprocess`: a JSON object with the keys of Hugging Face, and `channel_order` and `data_format`.
    pub(super) fn gradcam(self) -> Result<Option<SourceSettings>, ImageError> {
        let Some(text) = self.get("gradcam.preprocess") else {
            return Ok(None);
        };
        let place = "metadata gradcam.preprocess";
        let map = json::object(place, text.as_bytes())?;
        hugging_face::preprocess(JsonFields { place, map: &map }).map(Some)
    }

    /// `gradcam.labels`: a JSON array of strings.
    pub(super) fn gradcam_labels(self) -> Result<Option<Vec<String>>, ImageError> {
        let place = "metadata gradcam.labels";
        let value = self.get("gradcam.labels").map(|text| json::value(place, text.as_bytes()));
        value.map(|value| labels::from_value(place, &value?)).transpose()
    }

    /// The keys of ultralytics' exporter: `task`, `names` and `imgsz`, as Python literals.
    ///
    /// Classification takes a center crop of the resized photo in 0..1. The other tasks take a letterbox with
    /// gray borders. Ultralytics resizes it with OpenCV without antialiasing; here Pillow's filter is used.
    pub(super) fn ultralytics(
        self,
        size: Option<(u32, u32)>,
    ) -> Result<Option<SourceSettings>, ImageError> {
        let (Some(task), Some(_)) = (self.get("task"), self.get("names")) else {
            return Ok(None);
        };
        let size = match size {
            Some(size) => Some(size),
            None => self.imgsz()?,
        };
        let geometry = size.map(|(width, height)| match task {
            "classify" => Geometry::center(width, height, 1.0),
            _ => Geometry::pad(width, height, [114; 3]),
        });
        Ok(Some(SourceSettings {
            geometry,
            filter: Some(Filter::Bilinear),
            rescale: Some(1.0 / 255.0),
            mean: Some(vec![0.0]),
            std: Some(vec![1.0]),
            layout: None,
            channels: None,
        }))
    }

    /// The task of ultralytics.
    pub(super) fn task(self) -> Option<(Task, SettingOrigin)> {
        self.get("names").and(self.get("task")).and_then(task::of_ultralytics)
    }

    /// `imgsz` ([height, width] or one number) as [width, height].
    fn imgsz(self) -> Result<Option<(u32, u32)>, ImageError> {
        let Some(text) = self.get("imgsz") else {
            return Ok(None);
        };
        let wrong = |why: &str| {
            json::metadata(format!("metadata imgsz: {text:?}: {why}; expected [height, width]"))
        };
        let value = literal::parse(text).map_err(|why| wrong(&why))?;
        let sides: Option<Vec<u32>> = match &value {
            serde_json::Value::Array(sides) => sides.iter().map(json::side).collect(),
            side => json::side(side).map(|side| vec![side]),
        };
        match sides.as_deref() {
            Some([side]) => Ok(Some((*side, *side))),
            Some([height, width]) => Ok(Some((*width, *height))),
            _ => Err(wrong("not two sizes")),
        }
    }

    /// `names` of ultralytics.
    pub(super) fn ultralytics_labels(self) -> Result<Option<Vec<String>>, ImageError> {
        let (Some(_), Some(names)) = (self.get("task"), self.get("names")) else {
            return Ok(None);
        };
        let value = literal::parse(names).map_err(|why| {
            json::metadata(format!("metadata names: not a Python literal: {why}"))
        })?;
        labels::from_value("metadata names", &value).map(Some)
    }

    /// A value of the metadata that OpenVINO's Model API reads; the path to it is written with spaces, dots or slashes.
    fn model_info(self, key: &str) -> Option<&'a str> {
        let is_it = |name: &str| {
            let mut parts = name.split([' ', '.', '/']);
            (parts.next(), parts.next(), parts.next()) == (Some("model_info"), Some(key), None)
        };
        self.0.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value.trim())
    }

    /// The words of a list, which is written with spaces, or as in Python.
    fn model_info_list(self, key: &str) -> Option<Vec<&'a str>> {
        let text = self.model_info(key)?.trim_matches(['[', ']', '(', ')']);
        let words = match text.contains(',') {
            true => text.split(',').map(|word| word.trim().trim_matches(['\'', '"'])).collect(),
            false => text.split_whitespace().collect::<Vec<_>>(),
        };
        Some(words).filter(|words| words.iter().any(|word| !word.is_empty()))
    }

    /// `model_info` of OpenVINO: mean and scale of pixels of 0 to 255, the order of the channels, and the resize.
    /// <https://github.com/open-edge-platform/model_api>
    pub(super) fn openvino(
        self,
        size: Option<(u32, u32)>,
    ) -> Result<Option<SourceSettings>, ImageError> {
        let numbers = |key: &str, nonzero: bool| -> Result<Option<Vec<f32>>, ImageError> {
            let Some(words) = self.model_info_list(key) else { return Ok(None) };
            let number = |word: &&str| {
                word.parse::<f32>().ok().filter(|n| n.is_finite() && !(nonzero && *n == 0.0))
            };
            let numbers: Option<Vec<f32>> = words.iter().map(number).collect();
            numbers.filter(|numbers| (1..=4).contains(&numbers.len())).map(Some).ok_or_else(|| {
                json::metadata(format!(
                    "metadata model_info {key} is {words:?}; expected 1 to 4 numbers"
                ))
            })
        };
        let (mean, std) = (numbers("mean_values", false)?, numbers("scale_values", true)?);
        // Pictures come in the order of OpenCV, blue first.
        let channels = match self.model_info("reverse_input_channels") {
            Some("True" | "true" | "YES" | "1") => Some(Channels::Rgb),
            Some("False" | "false" | "NO" | "0") => Some(Channels::Bgr),
            _ => None,
        };
        let level = self.model_info("pad_value").and_then(|level| level.parse().ok()).unwrap_or(0);
        let geometry = size.zip(self.model_info("resize_type"));
        let geometry = geometry.and_then(|((width, height), resize)| match resize {
            "standard" => Some(Geometry::squash(width, height)),
            "fit_to_window" | "fit_to_window_letterbox" => {
                Some(Geometry::pad(width, height, [level; 3]))
            }
            "crop" => Some(Geometry::center(width, height, 1.0)),
            _ => None,
        });
        let numbered = mean.is_some() || std.is_some();
        if !numbered && channels.is_none() && geometry.is_none() {
            return Ok(None);
        }
        Ok(Some(SourceSettings {
            geometry,
            filter: None,
            rescale: numbered.then_some(1.0),
            mean: mean.or_else(|| numbered.then(|| vec![0.0])),
            std: std.or_else(|| numbered.then(|| vec![1.0])),
            layout: None,
            channels,
        }))
    }

    /// `labels` of OpenVINO.
    pub(super) fn openvino_labels(self) -> Option<Vec<String>> {
        Some(self.model_info_list("labels")?.into_iter().map(str::to_owned).collect())
    }

    /// `character` of PaddlePaddle's models: one label on each line. The ideographic space is a label, so lines are not trimmed.
    pub(super) fn paddle_labels(self) -> Option<Vec<String>> {
        let text = self.get("character").filter(|text| !text.is_empty())?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect())
    }

    /// `Image.BitmapPixelFormat` and `Image.NominalPixelRange`.
    /// <https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md>
    pub(super) fn onnx_image(self) -> Result<Option<SourceSettings>, ImageError> {
        let format = self.get_any_case("Image.BitmapPixelFormat");
        let range = self.get_any_case("Image.NominalPixelRange");
        let unknown = |key: &str, value: &str, known: &str| {
            json::metadata(format!("metadata {key} is {value:?}; supported: {known}"))
        };
        let channels = match format.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("gray8") => Some(Channels::Gray),
            Some("rgb8") => Some(Channels::Rgb),
            Some("bgr8") => Some(Channels::Bgr),
            Some(other) => {
                return Err(unknown("Image.BitmapPixelFormat", other, "Gray8, Rgb8, Bgr8"));
            }
        };
        // value · rescale, minus mean, divided by std
        let scale = match range.map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("nominalrange_0_255") => Some((1.0, 0.0, 1.0)),
            Some("normalized_0_1") => Some((1.0 / 255.0, 0.0, 1.0)),
            Some("normalized_1_1") => Some((1.0 / 255.0, 0.5, 0.5)),
            Some("nominalrange_16_235") => Some((219.0 / 255.0, -16.0, 1.0)),
            Some(other) => {
                let known =
                    "NominalRange_0_255, Normalized_0_1, Normalized_1_1, NominalRange_16_235";
                return Err(unknown("Image.NominalPixelRange", other, known));
            }
        };
        Ok((channels.is_some() || scale.is_some()).then(|| SourceSettings {
            rescale: scale.map(|(rescale, _, _)| rescale),
            mean: scale.map(|(_, mean, _)| vec![mean]),
            std: scale.map(|(_, _, std)| vec![std]),
            channels,
            ..SourceSettings::default()
        }))
    }
}
