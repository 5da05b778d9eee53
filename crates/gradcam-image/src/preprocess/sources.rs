//! Sources of preprocessing outside the metadata: the model's input shape, and the files beside the model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::json::{self, JsonFields};
use super::metadata::MetadataProps;
use super::origin::{SettingOrigin, SourceSettings};
use super::{Channels, Layout, hugging_face, labels, timm};
use crate::{ImageError, ImageErrorKind, files};

/// The settings that follow from the shape of the model's input.
pub(super) struct InputShape {
    /// The layout, if the shape implies one.
    pub(super) layout: Option<Layout>,
    pub(super) channels: Option<Channels>,
    /// [width, height] if both are fixed.
    pub(super) size: Option<(u32, u32)>,
}

impl InputShape {
    /// Reads channels and size by the layout that another source sets, else by the layout that the shape implies, else as
    /// NCHW.
    pub(super) fn read(
        shape: &[Option<i64>],
        layout: Option<(SettingOrigin, Layout)>,
    ) -> Result<Self, ImageError> {
        let text = || {
            let sides: Vec<String> = shape
                .iter()
                .map(|side| side.map_or("?".to_owned(), |side| side.to_string()))
                .collect();
            format!("[{}]", sides.join(", "))
        };
        let invalid = |why: &str| {
            let message = format!("the model's input has shape {}; {why}", text());
            ImageError::new(ImageErrorKind::Invalid, message)
        };
        let [_, second, third, fourth] = *shape else {
            return Err(invalid(
                "photos need [N, C, H, W] or [N, H, W, C]. If the model decodes or crops pictures itself, \
                 use the model inside it",
            ));
        };
        let implied = Layout::of_shape(shape);
        let (channels, height, width) = match layout.map(|(_, layout)| layout).or(implied) {
            Some(Layout::Nhwc) => (fourth, second, third),
            Some(Layout::Nchw) | None => (second, third, fourth),
        };
        let channels = match channels {
            None => None,
            Some(count) if (1..=4).contains(&count) => Channels::of_count(count),
            Some(_) => {
                let why = match layout {
                    Some((origin, layout)) if origin != SettingOrigin::Flag => {
                        format!(
                            "photos have 1 to 4 channels, and {origin} sets the layout {layout}"
                        )
                    }
                    _ => "photos have 1 to 4 channels".to_owned(),
                };
                return Err(invalid(&why));
            }
        };
        let side = |side: i64| u32::try_from(side).ok().filter(|side| *side > 0);
        let size = match (width, height) {
            (Some(width), Some(height)) => {
                let size = side(width).zip(side(height));
                Some(size.ok_or_else(|| invalid("its height and width must be positive"))?)
            }
            _ => None,
        };
        Ok(Self { layout: implied, channels, size })
    }
}

/// The location of a JSON object, for messages, and the object.
type JsonFile = (String, Map<String, Value>);

/// The JSON files beside a model with settings for photos and labels.
#[derive(Default)]
pub(super) struct Sidecars {
    model: Option<PathBuf>,
    processor: Option<JsonFile>,
    config: Option<JsonFile>,
}

impl Sidecars {
    /// Reads the files from the model's folder or, for `onnx/model.onnx` (optimum's layout), from its parent.
    pub(super) fn read(model: Option<&Path>) -> Result<Self, ImageError> {
        let Some(model) = model else {
            return Ok(Self::default());
        };
        let folder = model.parent().unwrap_or(Path::new(""));
        let mut folders = vec![folder];
        if folder.file_name() == Some(OsStr::new("onnx")) {
            folders.extend(folder.parent());
        }
        let read = |name: &str| -> Result<Option<JsonFile>, ImageError> {
            for folder in &folders {
                let path = folder.join(name);
                if let Some(bytes) = files::read_if_there(&path, labels::MAX_BYTES)? {
                    let place = path.display().to_string();
                    let map = json::object(&place, &bytes)?;
                    return Ok(Some((place, map)));
                }
            }
            Ok(None)
        };
        let mut processor = read("preprocessor_config.json")?;
        if processor.is_none() {
            // Newer processors have the same keys in an object of another file.
            processor = match read("processor_config.json")? {
                Some((place, mut map)) => match map.remove("image_processor") {
                    Some(Value::Object(inner)) => {
                        Some((format!("{place}: image_processor"), inner))
                    }
                    _ => None,
                },
                None => None,
            };
        }
        Ok(Self { model: Some(model.to_owned()), processor, config: read("config.json")? })
    }

    fn config(&self) -> Option<JsonFields<'_>> {
        self.config.as_ref().map(|(place, map)| JsonFields { place, map })
    }

    /// The settings of `preprocessor_config.json`, unless it only refers to timm's file.
    pub(super) fn hugging_face(&self) -> Result<Option<SourceSettings>, ImageError> {
        let Some((place, map)) = &self.processor else {
            return Ok(None);
        };
        let fields = JsonFields { place, map };
        if fields.text("image_processor_type")?.is_some_and(|name| name.starts_with("TimmWrapper"))
        {
            return Ok(None);
        }
        hugging_face::preprocess(fields).map(Some)
    }

    /// The settings of timm's `config.json`.
    pub(super) fn timm(
        &self,
        size: Option<(u32, u32)>,
    ) -> Result<Option<SourceSettings>, ImageError> {
        let config = self.config().filter(|config| timm::is_timm(*config));
        config.map(|config| timm::preprocess(config, size)).transpose()
    }

    /// The labels of `config.json`, from Hugging Face or timm.
    fn config_labels(&self) -> Result<Option<(SettingOrigin, Vec<String>)>, ImageError> {
        let Some(config) = self.config() else {
            return Ok(None);
        };
        if let Some(labels) = hugging_face::labels(config)? {
            return Ok(Some((SettingOrigin::HuggingFaceConfig, labels)));
        }
        if !timm::is_timm(config) {
            return Ok(None);
        }
        Ok(timm::labels(config)?.map(|labels| (SettingOrigin::TimmConfig, labels)))
    }

    /// The labels of text files beside the model.
    fn text_labels(&self) -> Result<Option<(SettingOrigin, Vec<String>)>, ImageError> {
        let Some(model) = &self.model else {
            return Ok(None);
        };
        for (origin, path) in [
            (SettingOrigin::ModelLabelsTxt, model.with_extension("labels.txt")),
            (SettingOrigin::LabelsTxt, model.with_file_name("labels.txt")),
            (SettingOrigin::SynsetTxt, model.with_file_name("synset.txt")),
        ] {
            if let Some(bytes) = files::read_if_there(&path, labels::MAX_BYTES)? {
                let labels = labels::from_lines(&path.display().to_string(), &bytes)?;
                return Ok(Some((origin, labels)));
            }
        }
        Ok(None)
    }

    /// The labels of the first source that has some.
    pub(super) fn labels(
        &self,
        given: Option<&Path>,
        props: MetadataProps<'_>,
    ) -> Result<Option<(SettingOrigin, Vec<String>)>, ImageError> {
        if let Some(path) = given {
            return Ok(Some((SettingOrigin::Flag, labels::from_file(path)?)));
        }
        if let Some(labels) = props.gradcam_labels()? {
            return Ok(Some((SettingOrigin::GradcamMetadata, labels)));
        }
        if let Some(found) = self.config_labels()? {
            return Ok(Some(found));
        }
        if let Some(labels) = props.ultralytics_labels()? {
            return Ok(Some((SettingOrigin::Ultralytics, labels)));
        }
        self.text_labels()
    }
}
