//! What was dropped on the page, and what was made of it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use gradcam::{
    Area, Explanation, ExportSettings, ExportTargets, ExportWeights, METHODS, Summary, Target,
    TargetSpec, image::Colormap,
};
use serde::Serialize;
use web_time::Instant;

use crate::{
    files::DroppedFiles,
    hints::{message, words},
    model::{ModelDescription, OnProgress, OpenModel},
    photo::{PagePhoto, Picture},
    request::{ExplainRequest, ExportRequest, MapRequest, ModelSettings, PictureStyle},
};

/// The classes of a summary.
const TOP: usize = 10;

/// Models, photos and explanations, each by a number that no other has.
///
/// What fails gives a message that names the thing and says what to do on the page.
pub struct PageState {
    models: BTreeMap<u32, OpenModel>,
    photos: BTreeMap<u32, Arc<PagePhoto>>,
    explanations: BTreeMap<u32, (Explanation, Arc<PagePhoto>)>,
    last: u32,
    on_progress: OnProgress,
}

/// One explanation of a photo.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// Its number.
    pub id: u32,
    /// The number of heatmaps: one for each layer, or one where layers are fused.
    pub heatmaps: usize,
    /// The explanation without the numbers of its maps.
    pub summary: Summary,
    /// Milliseconds from photo to maps.
    pub milliseconds: f64,
}

/// A plain inference.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Plain {
    /// Milliseconds of each run. What is done once, such as the compilation, is not counted.
    pub milliseconds: Vec<f64>,
}

impl PageState {
    /// A page with nothing on it. `on_progress` gets how many of how many runs of a long method are done.
    pub fn new(on_progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        Self {
            models: BTreeMap::new(),
            photos: BTreeMap::new(),
            explanations: BTreeMap::new(),
            last: 0,
            on_progress: Arc::new(on_progress),
        }
    }

    fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// The methods and the colors that there are, as JSON.
    pub fn tables() -> serde_json::Value {
        let methods = METHODS.iter().map(|method| {
            serde_json::json!({
                "id": method.id,
                "name": method.name,
                "use": method.use_for,
                "of_input": method.is_of_input(),
                "inferences": method.inferences(),
            })
        });
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "methods": methods.collect::<Vec<_>>(),
            "colormaps": Colormap::ALL.map(|(name, _)| name),
        })
    }

    /// Opens a model. `name` is its path among the files; its external data, its labels and what says how photos are prepared are
    /// read from the others.
    ///
    /// # Errors
    /// For a file that is no ONNX model, with what it is. A model that cannot be explained as it is has a
    /// [`problem`](ModelDescription::problem) instead.
    pub fn open(
        &mut self,
        files: DroppedFiles,
        name: impl AsRef<Path>,
        settings: ModelSettings,
    ) -> Result<ModelDescription, String> {
        let opened = OpenModel::open(files, name.as_ref(), settings, self.on_progress.clone())?;
        let id = self.number();
        let model = self.models.entry(id).or_insert(opened);
        Ok(model.describe(id))
    }

    /// Closes a model.
    pub fn close(&mut self, model: u32) {
        self.models.remove(&model);
    }

    /// Replaces what is said of a model beside its files.
    ///
    /// # Errors
    /// For a model that is not open.
    pub fn say(&mut self, model: u32, settings: ModelSettings) -> Result<ModelDescription, String> {
        let open = self.model(model)?;
        open.say(settings);
        Ok(open.describe(model))
    }

    fn model(&mut self, model: u32) -> Result<&mut OpenModel, String> {
        self.models.get_mut(&model).ok_or_else(|| format!("there is no model {model}"))
    }

    fn photo(&self, photo: u32) -> Result<Arc<PagePhoto>, String> {
        self.photos.get(&photo).cloned().ok_or_else(|| format!("there is no photo {photo}"))
    }

    /// Decodes a photo, and gives its number, its width and its height, upright.
    ///
    /// # Errors
    /// For a file that is no picture, and one above 64 megapixels.
    pub fn add_photo(&mut self, file: &[u8]) -> Result<(u32, u32, u32), String> {
        let photo = PagePhoto::decode(file)?;
        let id = self.number();
        let size = (photo.whole.width(), photo.whole.height());
        self.photos.insert(id, Arc::new(photo));
        Ok((id, size.0, size.1))
    }

    /// Forgets a photo. Its explanations stay.
    pub fn drop_photo(&mut self, photo: u32) {
        self.photos.remove(&photo);
    }

    /// The photo as the page shows it.
    ///
    /// # Errors
    /// For a photo that is not there.
    pub fn show(&self, photo: u32) -> Result<Picture, String> {
        Ok(self.photo(photo)?.picture())
    }

    /// Explains a photo: one explanation, or K of the target `top:K`.
    ///
    /// # Errors
    /// Those of [`gradcam::Explainer::explain`], in the words of the page.
    pub fn explain(&mut self, request: &ExplainRequest) -> Result<Vec<Explained>, String> {
        let start = Instant::now();
        let photo = self.photo(request.photo)?;
        let explainer = self.model(request.model)?.explainer(&request.map)?;
        let target = match request.area {
            Some([x, y, width, height]) => {
                TargetSpec::One(Target::Box(None, Area { x, y, width, height }))
            }
            None => explainer.parse_target(&request.target).map_err(|error| message(&error))?,
        };
        let explained = explainer.explain(&photo.whole, target).map_err(|error| message(&error))?;
        let milliseconds = milliseconds(start);
        let add = |explanation: Explanation| {
            let id = self.number();
            let explained = Explained {
                id,
                heatmaps: explanation.heatmaps(),
                summary: Summary::of(&explanation, TOP, words),
                milliseconds,
            };
            self.explanations.insert(id, (explanation, photo.clone()));
            explained
        };
        Ok(explained.into_iter().flatten().map(add).collect())
    }

    /// Forgets an explanation.
    pub fn drop_explanation(&mut self, explanation: u32) {
        self.explanations.remove(&explanation);
    }

    fn explanation(&self, explanation: u32) -> Result<&(Explanation, Arc<PagePhoto>), String> {
        let found = self.explanations.get(&explanation);
        found.ok_or_else(|| format!("there is no explanation {explanation}"))
    }

    /// A heatmap over its photo, at the size of the page: at most 1024 pixels a side.
    ///
    /// # Errors
    /// Where there is no such heatmap, or it has not two axes.
    pub fn draw(
        &self,
        explanation: u32,
        heatmap: usize,
        style: &PictureStyle,
    ) -> Result<Picture, String> {
        let (explanation, photo) = self.explanation(explanation)?;
        photo.drawn(explanation, heatmap, &style.overlay()?)
    }

    /// A heatmap over its photo, at the photo's size, as a PNG file.
    ///
    /// # Errors
    /// As [`PageState::draw`].
    pub fn png(
        &self,
        explanation: u32,
        heatmap: usize,
        style: &PictureStyle,
    ) -> Result<Vec<u8>, String> {
        let (explanation, photo) = self.explanation(explanation)?;
        photo.png(explanation, heatmap, &style.overlay()?)
    }

    /// The raw map of a layer, row by row; its shape is in the summary.
    ///
    /// # Errors
    /// Where there is no such layer.
    pub fn map(&self, explanation: u32, layer: usize) -> Result<Vec<f32>, String> {
        let (explanation, _) = self.explanation(explanation)?;
        let layers = &explanation.layers;
        let map = layers.get(layer).ok_or_else(|| format!("there are {} maps", layers.len()))?;
        Ok(map.map.iter().copied().collect())
    }

    /// The user's model with the explanation as a part of its graph, as a file.
    ///
    /// # Errors
    /// Those of [`gradcam::Explainer::export`], and for a model above 2 GiB.
    pub fn export(&mut self, request: &ExportRequest) -> Result<Vec<u8>, String> {
        let heads = request.heads()?;
        let explainer = self.model(request.model)?.explainer(&request.map)?;
        let targets = match request.targets.as_slice() {
            [only] if only == "input" => ExportTargets::Input,
            targets => {
                let specs = targets.iter().map(|text| explainer.parse_target(text));
                let specs = specs.collect::<gradcam::Result<_>>();
                ExportTargets::Fixed(specs.map_err(|error| message(&error))?)
            }
        };
        let weights = if request.fp16 { ExportWeights::Half } else { ExportWeights::AsTheyAre };
        let exported = explainer.export(&ExportSettings { targets, heads, weights });
        let exported = exported.map_err(|error| message(&error))?;
        exported.model.to_bytes().map_err(|error| error.to_string())
    }

    /// Runs the model alone, without an explanation, to compare the times.
    ///
    /// # Errors
    /// As [`PageState::explain`].
    pub fn plain(&mut self, model: u32, photo: u32, runs: usize) -> Result<Plain, String> {
        let photo = self.photo(photo)?;
        let explainer = self.model(model)?.explainer(&MapRequest::default())?;
        let (x, _) = explainer.prepare(&photo.whole).map_err(|error| message(&error))?;
        let inference = explainer.inference(x.shape()).map_err(|error| message(&error))?;
        let run = |_| {
            let start = Instant::now();
            // As an explanation, from the photo on.
            let (x, _) = explainer.prepare(&photo.whole)?;
            inference.run(x.view().into_dyn())?;
            Ok(milliseconds(start))
        };
        let milliseconds = (0..runs).map(run).collect::<gradcam::Result<_>>();
        Ok(Plain { milliseconds: milliseconds.map_err(|error| message(&error))? })
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
