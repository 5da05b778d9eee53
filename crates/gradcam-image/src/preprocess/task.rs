//! What a model was trained for, as the files beside it and its metadata say.

use serde::Serialize;

use super::{json::JsonFields, origin::SettingOrigin};
use crate::ImageError;

/// What a model was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Task {
    /// One class of several.
    SingleLabel,
    /// Several labels at once.
    MultiLabel,
    /// Values.
    Regression,
    /// Boxes.
    Detection,
    /// A class for each pixel.
    Segmentation,
}

/// The task in Hugging Face's `config.json`: `problem_type`, else the ending of the architecture's name.
pub(super) fn of_config(
    fields: JsonFields<'_>,
) -> Result<Option<(Task, SettingOrigin)>, ImageError> {
    let task = match fields.text("problem_type")? {
        Some("single_label_classification") => Some(Task::SingleLabel),
        Some("multi_label_classification") => Some(Task::MultiLabel),
        Some("regression") => Some(Task::Regression),
        _ => {
            let architectures = fields.map.get("architectures").and_then(|value| value.as_array());
            let name = architectures.and_then(|names| names.first()?.as_str()).unwrap_or_default();
            const ENDINGS: [(&str, Task); 3] = [
                ("ForObjectDetection", Task::Detection),
                ("ForSemanticSegmentation", Task::Segmentation),
                ("ForDepthEstimation", Task::Regression),
            ];
            ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, task)| *task)
        }
    };
    Ok(task.map(|task| (task, SettingOrigin::HuggingFaceConfig)))
}

/// The task in the metadata of ultralytics.
pub(super) fn of_ultralytics(task: &str) -> Option<(Task, SettingOrigin)> {
    let task = match task {
        "classify" => Task::SingleLabel,
        "detect" | "segment" | "pose" | "obb" => Task::Detection,
        _ => return None,
    };
    Some((task, SettingOrigin::Ultralytics))
}
