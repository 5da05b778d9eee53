//! Sources of preprocessing outside the metadata: the model's input shape, and the files beside the model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::json::{self, JsonFields};
use super::metadata::MetadataProps;
use super::origin::{SettingOrigin, SourceSettings};
use super::task::{self, Task};
use super::{Channels, Layout, hugging_face, labels, paddle, timm, triton, yaml};
use crate::files::{self, Files};
use crate::{ImageError, ImageErrorKind};

/// The settings that follow from the shape of the model's input.
pub(super) struct InputShape {
    /// The layout, if the shape implies one.
    pub(super) layout: Option<Layout>,
    pub(super) channels: Option<Channels>,
    /// [width, height] if both are fixed.
    pub(super) size: Option<(u32, u32)>,
    /// The width and the height that are fixed.
    pub(super) sides: (Option<u32>, Option<u32>),
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
        let sides = (width.and_then(side), height.and_then(side));
        if width.is_some() != sides.0.is_some() || height.is_some() != sides.1.is_some() {
            return Err(invalid("its height and width must be positive"));
        }
        Ok(Self { layout: implied, channels, size: sides.0.zip(sides.1), sides })
    }
}

/// The location of a JSON object, for messages, and the object.
type JsonFile = (String, Map<String, Value>);

/// Reads the object in a file; the location is for messages.
type ObjectReader = fn(&str, &[u8]) -> Result<Map<String, Value>, ImageError>;

/// The files beside a model with settings for photos and labels.
pub(super) struct Sidecars<'a> {
    files: &'a dyn Files,
    model: Option<PathBuf>,
    processor: Option<JsonFile>,
    config: Option<JsonFile>,
    /// PaddlePaddle's `inference.yml`.
    paddle: Option<JsonFile>,
    /// MLflow's `MLmodel`.
    mlflow: Option<JsonFile>,
    /// Triton's `config.pbtxt`: its folder and its text.
    triton: Option<(PathBuf, String)>,
}

impl<'a> Sidecars<'a> {
    /// Reads the files from the model's folder or, for `onnx/model.onnx` (optimum's layout), from its parent.
    pub(super) fn read(files: &'a dyn Files, model: Option<&Path>) -> Result<Self, ImageError> {
        let Some(model) = model else {
            return Ok(Self {
                files,
                model: None,
                processor: None,
                config: None,
                paddle: None,
                mlflow: None,
                triton: None,
            });
        };
        let folder = model.parent().unwrap_or(Path::new(""));
        let mut folders = vec![folder];
        if folder.file_name() == Some(OsStr::new("onnx")) {
            folders.extend(folder.parent());
        }
        let read_as = |name: &str, object: ObjectReader| -> Result<Option<JsonFile>, ImageError> {
            for folder in &folders {
                let path = folder.join(name);
                if let Some(bytes) = files::read_if_there(files, &path, labels::MAX_BYTES)? {
                    let place = path.display().to_string();
                    let map = object(&place, &bytes)?;
                    return Ok(Some((place, map)));
                }
            }
            Ok(None)
        };
        let read = |name: &str| read_as(name, json::object);
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
        Ok(Self {
            files,
            model: Some(model.to_owned()),
            processor,
            config: read("config.json")?,
            paddle: read_as("inference.yml", yaml::object)?,
            mlflow: read_as("MLmodel", yaml::object)?,
            triton: triton_config(files, folder)?,
        })
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

    /// The layout that Triton's configuration has.
    pub(super) fn triton(&self) -> Option<SourceSettings> {
        let layout = triton::layout(&self.triton.as_ref()?.1)?;
        Some(SourceSettings { layout: Some(layout), ..SourceSettings::default() })
    }

    /// The shape, with the sizes that MLflow's signature has for a tensor of four axes where the model leaves them open.
    pub(super) fn completed(&self, shape: &[Option<i64>]) -> Result<Vec<Option<i64>>, ImageError> {
        let open = || shape.to_vec();
        let Some((place, map)) = &self.mlflow else { return Ok(open()) };
        let signature = map.get("signature").and_then(|signature| signature.get("inputs"));
        let Some(text) = signature.and_then(Value::as_str) else { return Ok(open()) };
        let inputs = json::value(&format!("{place}: signature"), text.as_bytes())?;
        let sizes = |input: &Value| -> Option<Vec<Option<i64>>> {
            let sizes = input.get("tensor-spec")?.get("shape")?.as_array()?;
            Some(sizes.iter().map(|size| size.as_i64().filter(|size| *size > 0)).collect())
        };
        let tensors: Vec<_> = inputs.as_array().into_iter().flatten().filter_map(sizes).collect();
        let declared = match tensors.as_slice() {
            [one] if one.len() == shape.len() => one,
            _ => return Ok(open()),
        };
        Ok(shape.iter().zip(declared).map(|(size, declared)| size.or(*declared)).collect())
    }

    /// The settings of PaddlePaddle's `inference.yml`.
    pub(super) fn paddle(&self) -> Result<Option<SourceSettings>, ImageError> {
        self.paddle.as_ref().map(|(place, map)| paddle::preprocess(place, map)).transpose()
    }

    /// The settings of timm's `config.json`.
    pub(super) fn timm(
        &self,
        size: Option<(u32, u32)>,
    ) -> Result<Option<SourceSettings>, ImageError> {
        let config = self.config().filter(|config| timm::is_timm(*config));
        config.map(|config| timm::preprocess(config, size)).transpose()
    }

    /// The task of Hugging Face's `config.json`.
    pub(super) fn task(&self) -> Result<Option<(Task, SettingOrigin)>, ImageError> {
        self.config().map_or(Ok(None), task::of_config)
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

    /// The labels that the configuration of another program names or holds.
    fn configured_labels(&self) -> Result<Option<(SettingOrigin, Vec<String>)>, ImageError> {
        if let Some((place, map)) = &self.paddle
            && let Some(labels) = paddle::labels(place, map)?
        {
            return Ok(Some((SettingOrigin::PaddleConfig, labels)));
        }
        let Some((folder, text)) = &self.triton else { return Ok(None) };
        let Some(name) = triton::label_file(text) else { return Ok(None) };
        let labels = labels::from_file_if_there(self.files, &folder.join(name))?;
        Ok(labels.map(|labels| (SettingOrigin::Triton, labels)))
    }

    /// The labels of files beside the model.
    fn file_labels(&self) -> Result<Option<(SettingOrigin, Vec<String>)>, ImageError> {
        let Some(model) = &self.model else {
            return Ok(None);
        };
        for (origin, path) in [
            (SettingOrigin::ModelLabelsTxt, model.with_extension("labels.txt")),
            (SettingOrigin::ModelTxt, model.with_extension("txt")),
            (SettingOrigin::ModelJson, model.with_extension("json")),
            (SettingOrigin::LabelsTxt, model.with_file_name("labels.txt")),
            (SettingOrigin::LabelsJson, model.with_file_name("labels.json")),
            (SettingOrigin::ClassesTxt, model.with_file_name("classes.txt")),
            (SettingOrigin::ClassIndices, model.with_file_name("class_indices.json")),
            (SettingOrigin::SynsetTxt, model.with_file_name("synset.txt")),
        ] {
            let found = labels::from_file_if_there(self.files, &path);
            // Files of the model's own name hold other things too.
            let may_be_none = matches!(origin, SettingOrigin::ModelTxt | SettingOrigin::ModelJson);
            let found = if may_be_none { found.unwrap_or(None) } else { found? };
            if let Some(labels) = found {
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
            return Ok(Some((SettingOrigin::Flag, labels::from_file(self.files, path)?)));
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
        if let Some(labels) = props.openvino_labels() {
            return Ok(Some((SettingOrigin::OpenVino, labels)));
        }
        if let Some(labels) = props.paddle_labels() {
            return Ok(Some((SettingOrigin::PaddleMetadata, labels)));
        }
        if let Some(found) = self.configured_labels()? {
            return Ok(Some(found));
        }
        self.file_labels()
    }
}

/// Triton's `config.pbtxt` with its folder, which is that of the model, or for `1/model.onnx` the one above.
fn triton_config(
    files: &dyn Files,
    folder: &Path,
) -> Result<Option<(PathBuf, String)>, ImageError> {
    let version = folder.file_name().and_then(OsStr::to_str);
    let above = folder.parent().filter(|_| version.is_some_and(|name| name.parse::<u64>().is_ok()));
    for folder in [Some(folder), above].into_iter().flatten() {
        let bytes = files::read_if_there(files, &folder.join("config.pbtxt"), labels::MAX_BYTES)?;
        if let Some(bytes) = bytes {
            return Ok(Some((folder.to_owned(), String::from_utf8_lossy(&bytes).into_owned())));
        }
    }
    Ok(None)
}
