//! Models that are open, and what the page says of them.

use std::path::{Path, PathBuf};

use gradcam::{
    Explainer, ExplainerBuilder, HeadInfo, LayerInfo, LayerReason, Model, image::PreprocessChoice,
    is_exported,
};
use serde::Serialize;

use crate::{
    files::DroppedFiles,
    hints::message,
    request::{MapRequest, ModelSettings},
};

/// The most explainers of a model that are kept; each holds what was compiled for one way to make maps.
const MOST_EXPLAINERS: usize = 8;

/// The most bytes of weights: WebAssembly has 4 GiB for them and everything else.
const MOST_WEIGHTS: u64 = 5 << 29;

fn check_weights(bytes: u64) -> Result<(), String> {
    if bytes <= MOST_WEIGHTS {
        return Ok(());
    }
    let gib = bytes as f64 / f64::from(1 << 30);
    Err(format!(
        "the model's weights take {gib:.1} GiB, and a page holds 2.5 GiB at most; use the command line or the Python package"
    ))
}

/// What is known of a model.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ModelDescription {
    /// Its number.
    pub id: u32,
    /// The name of its file.
    pub name: String,
    /// The bytes of its file, without external data.
    pub bytes: u64,
    /// Why it cannot be explained as it is, and what to do.
    pub problem: Option<String>,
    /// Whether it was exported with an explanation, which is left out here.
    pub is_exported: bool,
    /// The input that takes the images.
    pub input: Option<InputDescription>,
    /// How photos are prepared, and where each value came from.
    pub preprocessing: Option<PreprocessChoice>,
    /// What the scores are, and why.
    pub head: Option<HeadInfo>,
    /// The number of classes.
    pub classes: usize,
    /// The labels of the classes.
    pub labels: Option<Vec<String>>,
    /// All layers, in the order of the graph.
    pub layers: Vec<LayerDescription>,
    /// The names of the layers that are explained by default.
    pub explained: Vec<String>,
    /// Why these.
    pub reason: Option<LayerReason>,
}

/// The input that takes the images.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InputDescription {
    /// Its name.
    pub name: String,
    /// Its sizes; `null` where the model leaves one open.
    pub shape: Vec<Option<i64>>,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LayerDescription {
    /// The module path, or the value's name.
    pub path: String,
    /// The path of the module around it.
    pub parent: Option<String>,
    /// The operators that it is made of.
    pub kind: String,
    /// The shape of its value.
    pub shape: Vec<i64>,
    /// How many input pixels one position stands for.
    pub stride: i64,
    /// Whether it can be explained.
    pub candidate: bool,
    /// Whether it is explained by default.
    pub default: bool,
}

impl From<&LayerInfo> for LayerDescription {
    fn from(layer: &LayerInfo) -> Self {
        Self {
            path: layer.path.clone(),
            parent: layer.parent.clone(),
            kind: layer.kind.clone(),
            shape: layer.shape.clone(),
            stride: layer.stride,
            candidate: layer.candidate,
            default: layer.default,
        }
    }
}

/// A callback for progress: how many of how many runs are done.
pub(crate) type OnProgress = std::sync::Arc<dyn Fn(usize, usize) + Send + Sync>;

/// A model that is open.
pub(crate) struct OpenModel {
    name: PathBuf,
    bytes: u64,
    model: Model,
    settings: ModelSettings,
    /// The last one that was used is last.
    explainers: Vec<(MapRequest, Explainer)>,
    on_progress: OnProgress,
}

impl OpenModel {
    pub(crate) fn open(
        files: DroppedFiles,
        name: &Path,
        settings: ModelSettings,
        on_progress: OnProgress,
    ) -> Result<Self, String> {
        let bytes = files.len_of(name);
        let model = Model::open_in(files, name).map_err(|error| error.to_string())?;
        let weights = model.weights().iter().map(|weight| weight.len() as u64).sum::<u64>();
        check_weights(weights)?;
        let name = name.to_owned();
        Ok(Self { name, bytes, model, settings, explainers: Vec::new(), on_progress })
    }

    /// Sets what is said of it beside its files.
    pub(crate) fn say(&mut self, settings: ModelSettings) {
        self.explainers.clear();
        self.settings = settings;
    }

    fn builder(&self, map: &MapRequest) -> Result<ExplainerBuilder, String> {
        let on_progress = self.on_progress.clone();
        let builder = Explainer::builder(self.model.clone()).progress(move |progress| {
            on_progress(progress.done, progress.total);
            std::ops::ControlFlow::Continue(())
        });
        map.set(self.settings.set(builder)?)
    }

    /// The explainer that makes maps in this way.
    pub(crate) fn explainer(&mut self, map: &MapRequest) -> Result<&Explainer, String> {
        match self.explainers.iter().position(|(other, _)| other == map) {
            Some(at) => self.explainers[at..].rotate_left(1),
            None => {
                let built = self.builder(map)?.build().map_err(|error| message(&error))?;
                if self.explainers.len() == MOST_EXPLAINERS {
                    self.explainers.remove(0);
                }
                self.explainers.push((map.clone(), built));
            }
        }
        match self.explainers.last() {
            Some((_, explainer)) => Ok(explainer),
            None => Err("no explainer".to_owned()),
        }
    }

    pub(crate) fn describe(&mut self, id: u32) -> ModelDescription {
        let is_exported = is_exported(&self.model);
        let name = self.name.display().to_string();
        let bytes = self.bytes;
        let described = match self.explainer(&MapRequest::default()) {
            Ok(explainer) => ModelDescription {
                problem: explainer.preprocessing().err().map(|error| message(&error)),
                input: Some(InputDescription {
                    name: explainer.image_input().name.clone(),
                    shape: explainer.image_input().shape.clone(),
                }),
                preprocessing: explainer.preprocessing().ok().cloned(),
                head: Some(explainer.head().clone()),
                classes: explainer.classes(),
                labels: explainer.labels().map(<[String]>::to_vec),
                layers: explainer.layer_list().iter().map(Into::into).collect(),
                explained: explainer.layers().map(|(path, _)| path.to_owned()).collect(),
                reason: explainer.layer_reason(),
                ..ModelDescription::empty()
            },
            Err(problem) => {
                let builder = self.builder(&MapRequest::default());
                let layers = builder.ok().and_then(|builder| builder.layer_list().ok());
                let layers = layers.unwrap_or_default().iter().map(Into::into).collect();
                ModelDescription { problem: Some(problem), layers, ..ModelDescription::empty() }
            }
        };
        ModelDescription { id, name, bytes, is_exported, ..described }
    }
}

impl ModelDescription {
    /// Of a model of which nothing is known.
    fn empty() -> Self {
        Self {
            id: 0,
            name: String::new(),
            bytes: 0,
            problem: None,
            is_exported: false,
            input: None,
            preprocessing: None,
            head: None,
            classes: 0,
            labels: None,
            layers: Vec::new(),
            explained: Vec::new(),
            reason: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_a_page_cannot_hold_are_refused() {
        assert_eq!(check_weights(MOST_WEIGHTS), Ok(()));
        let error = check_weights(7 << 30).unwrap_err();
        assert!(error.starts_with("the model's weights take 7.0 GiB, and a page holds 2.5 GiB"));
    }
}
