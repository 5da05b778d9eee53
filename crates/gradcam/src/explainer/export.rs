//! Models that explain themselves: the user's model, with maps and heatmaps as further outputs.

mod heatmap;
mod target;

use onnx_grad::{
    Dim, Model, append,
    builder::Builder,
    graph::{Graph, Sizes, ValueId},
    proto::tensor_proto::DataType,
    prune,
};

use super::{
    Explainer, MOST_TARGETS,
    key::{Key, MapPlace, OutputMeaning},
};
use crate::{
    Result,
    error::{Error, ErrorKind, bail},
    head::{Head, head},
    image::{Fusion, HeatmapRules},
    method::{METHODS, Recipe},
    targets::{Target, TargetKind, TargetSpec, TargetValues},
};

/// The name of the output with the raw maps of an exported model.
pub const EXPORTED_MAP: &str = "gradcam.map";
/// The name of the output with its heatmaps.
pub const EXPORTED_HEATMAP: &str = "gradcam.heatmap";
/// The name of the output with the classes that are explained.
pub const EXPORTED_CLASS: &str = "gradcam.class";
/// The name of the input that takes a class for each image.
pub const TARGET_INPUT: &str = "gradcam.target";
/// The key of the metadata that exported models have, with the version that wrote it.
const VERSION: &str = "gradcam.version";

/// What an exported model explains, and what it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportSettings {
    /// What it explains.
    pub targets: ExportTargets,
    /// Its outputs.
    pub heads: ExportHeads,
    /// How its weights are stored.
    pub weights: ExportWeights,
}

/// What an exported model explains.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportTargets {
    /// Targets that are a part of the model.
    Fixed(Vec<TargetSpec>),
    /// The classes that the input [`TARGET_INPUT`] holds, int64 `[N]`; −1 is the one with the largest score.
    Input,
}

impl Default for ExportTargets {
    /// The class with the largest score.
    fn default() -> Self {
        Self::Fixed(vec![crate::Target::Argmax.into()])
    }
}

/// The outputs of an exported model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportHeads {
    /// Those of the model, and behind them those of the explanation.
    #[default]
    All,
    /// Those of the explanation. What only the others need is left out.
    CamOnly,
}

impl ExportHeads {
    /// Both of them with their names.
    pub const ALL: [(&'static str, Self); 2] = [("all", Self::All), ("cam-only", Self::CamOnly)];
}

/// How the weights of an exported model are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportWeights {
    /// As in the model.
    #[default]
    AsTheyAre,
    /// As 16-bit floats; everything is still computed in float32.
    Half,
}

/// A model that explains itself, and what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportedModel {
    /// The model.
    pub model: Model,
    /// The names and the shapes of the outputs of the explanation; the number of images is `N` where it is open.
    pub outputs: Vec<(String, Vec<Dim>)>,
    /// The shape of the images that it takes.
    pub image_shape: Vec<Dim>,
    /// Why the number of images is fixed, where the model leaves it open.
    pub fixed_batch: Option<String>,
}

/// A model with scores, gradients and maps written into it, which any engine runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplanationModel {
    /// The model.
    pub model: Model,
    /// What its outputs hold, in their order.
    pub outputs: Vec<OutputMeaning>,
}

/// Whether a model was written by [`Explainer::export`].
pub fn is_exported(model: &Model) -> bool {
    model.metadata().any(|(key, _)| key == VERSION)
}

/// An exported model as it was before, and whether it was one.
pub(super) fn without_explanation(model: Model) -> (Model, bool) {
    let own = |name: &str| {
        [EXPORTED_MAP, EXPORTED_HEATMAP, EXPORTED_CLASS].iter().any(|own| name.starts_with(own))
    };
    match is_exported(&model) {
        true => (onnx_grad::with_outputs(&model, |name| !own(name)), true),
        false => (model, false),
    }
}

/// The graph that an export extends: its sizes, the scores in it, and how its layers become pictures.
struct ExportBase {
    graph: Graph,
    head: Head,
    views: super::maps::SiteViews,
}

impl Explainer {
    /// Writes scores, gradients and maps into the model: the graph that an explanation of inputs of this shape runs. It has
    /// inputs for the classes of the targets, int64, `[N]`: `gradcam.class.0` for the first target, −1 for the arg-max, and
    /// `gradcam.other.0` for the second class of a difference, and `gradcam.place.0` where a target is at a place that the
    /// model does not find itself: the anchor of a box, the weight of each pixel or time step, or a vector of length 1.
    ///
    /// # Errors
    /// As [`Explainer::explain`], and `Method` for a method that runs the network again: it is not a graph.
    pub fn differentiate(&self, shape: &[usize], targets: &[Target]) -> Result<ExplanationModel> {
        for method in &self.setup.methods {
            if let Recipe::Passes(_) = method.info().recipe {
                bail!(
                    Method,
                    "method {method} runs the network again and is not a graph; choose a method of gradients"
                );
            }
        }
        if self.setup.maps.eigen_smooth {
            bail!(
                Method,
                "principal components are not computed by a graph; leave out eigen_smooth"
            );
        }
        self.inputs.image.check(shape)?;
        let each = |target: &Target| {
            self.setup.check(target)?;
            Ok(TargetKind::of(target, target.needs_place()))
        };
        let kinds = targets.iter().map(each).collect::<Result<_>>()?;
        let key = Key::Explanation(shape.to_vec(), kinds, 0..self.setup.layers.len());
        let (model, outputs) = self.model_of(&key)?;
        Ok(ExplanationModel { model, outputs })
    }

    /// Writes scores, gradient, map and heatmap into the model: an ordinary ONNX model of standard operators, which any engine
    /// runs. Behind the outputs of the model, which stay as they are, it has
    ///
    /// - [`EXPORTED_MAP`]: the raw map of each image, `[N, h, w]` at the layer's size (`[N, C, H, W]` of a method at the input),
    /// - [`EXPORTED_HEATMAP`]: 0..1 at the size of the network's input, as [`Explanation::heatmap`](crate::Explanation::heatmap),
    /// - [`EXPORTED_CLASS`]: the class that is explained, int64 `[N]`.
    ///
    /// Of K targets these are `[N, K, …]`. Of several layers without a fusion each has its own map and heatmap, with `.0`, `.1`, …
    /// behind the name. Of the default layers of a detector the map is that of the box's scale, its numbers repeated to the grid
    /// of the finest one.
    ///
    /// The number of images stays open where the model leaves it open; the size of the images is that of the photos' preparation
    /// or of [`ExplainerBuilder::image_shape`](crate::ExplainerBuilder::image_shape). The metadata of the model say version,
    /// method, layer and target.
    ///
    /// # Errors
    /// `Method` for a method that runs the network again, for several methods, and for smoothing and profiles that the graph has
    /// no form of; `Target` for a target at a place that a first run finds, and otherwise as [`Explainer::explain`]; `Model` where
    /// the model is exported already.
    pub fn export(&self, settings: &ExportSettings) -> Result<ExportedModel> {
        self.check_export()?;
        self.check_targets(&settings.targets)?;
        let is_open = self.inputs.image.batch().is_none();
        let shape = self.shape_of(if is_open { 2 } else { self.inputs.image.batch().unwrap_or(1) });
        let open = match is_open {
            true => self.open_base(&shape).and_then(|base| self.exported(base, settings)),
            false => return self.exported(self.fixed_base(&shape)?, settings),
        };
        open.or_else(|error| {
            let exported = self.exported(self.fixed_base(&self.shape_of(1))?, settings)?;
            Ok(ExportedModel { fixed_batch: Some(error.to_string()), ..exported })
        })
    }

    /// The shape of a number of images.
    fn shape_of(&self, images: usize) -> Vec<usize> {
        let preprocess = self.setup.resolved.as_ref().ok().map(|resolved| &resolved.preprocess);
        let sizes = self.inputs.default_sizes(preprocess);
        let dims = sizes.get(&self.inputs.image.name).map(Vec::as_slice).unwrap_or_default();
        let size = |dim: &Dim| dim.fixed().and_then(|size| usize::try_from(size).ok()).unwrap_or(1);
        let behind = dims.iter().skip(1).map(size);
        std::iter::once(images).chain(behind).collect()
    }

    fn check_export(&self) -> Result<()> {
        if self.setup.is_exported {
            bail!(
                Model,
                "the model is exported already: it has outputs of gradcam; export the model that it was made from"
            );
        }
        let method = match self.setup.methods.as_slice() {
            [method] => *method,
            methods => bail!(
                Method,
                "a model is exported with one method, and there are {}; export it once for each",
                methods.iter().map(|method| method.id()).collect::<Vec<_>>().join(", ")
            ),
        };
        if let Recipe::Passes(_) = method.info().recipe {
            let in_graph = METHODS.iter().filter(|row| matches!(row.recipe, Recipe::Graph(_)));
            bail!(
                Method,
                "method {method} runs the network again or computes on the host, so it is no part of a graph; choose one of {}",
                in_graph.map(|row| row.id).collect::<Vec<_>>().join(", ")
            );
        }
        let maps = &self.setup.maps;
        if maps.eigen_smooth || maps.aug_smooth {
            bail!(
                Method,
                "smoothing takes principal components or several runs, which are no part of a graph; leave it out"
            );
        }
        if maps.heatmaps_of(method).rules != HeatmapRules::PytorchGradCam {
            bail!(
                Method,
                "the heatmap of an exported model is that of profile pytorch-grad-cam, and not of {}",
                maps.profile
            );
        }
        Ok(())
    }

    /// The graph for a number of images that is left open. Scores and layers are read from the graph for two images.
    fn open_base(&self, shape: &[usize]) -> Result<ExportBase> {
        let fixed = self.fixed_base(shape)?;
        let graph = Graph::new(&self.setup.model, &self.inputs.open_sizes(shape))?;
        let same = |id: ValueId| graph.find(fixed.graph.name(id)) == Some(id);
        if !fixed.graph.values().all(same) {
            bail!(Model, "the nodes of the model depend on the number of images");
        }
        if !fixed.views.layers.iter().all(|view| view.takes_open_batch()) {
            bail!(Model, "the images are on several axes of the layer");
        }
        Ok(ExportBase { graph, ..fixed })
    }

    fn fixed_base(&self, shape: &[usize]) -> Result<ExportBase> {
        let sizes: Sizes = self.inputs.sizes(shape);
        let graph = Graph::new(&self.setup.model, &sizes)?;
        let head = head(&graph, &self.setup.head_settings)?.with_axes_of(&self.setup.head);
        let layers = self.setup.layers.iter().map(|(_, value)| graph.value(value));
        let layers: Vec<ValueId> = layers.collect::<Result<_, _>>()?;
        let image = graph.value(&self.inputs.image.name)?;
        let views = self.site_views(&graph, &layers, image)?;
        Ok(ExportBase { graph, head, views })
    }

    fn exported(&self, base: ExportBase, settings: &ExportSettings) -> Result<ExportedModel> {
        let ExportBase { mut graph, head, views } = base;
        let image = graph.value(&self.inputs.image.name)?;
        let (kinds, mut asked) = self.baked(&mut graph, &head, image, &settings.targets)?;
        self.ask_contrast(&mut asked);
        let mut emission = self.with_targets(graph, &head, &kinds, &asked)?;
        // The map of a scale is shown for its own boxes, which depend on no other scale's layer.
        emission.layers_are_apart = !self.setup.scales.is_empty();
        let targets = emission.emitted.targets.clone();
        let layers = 0..self.setup.layers.len();
        let (mut graph, named) = self.with_maps(emission, layers, &views)?;
        let map_of = |target: usize, layer: usize| {
            let meaning = OutputMeaning::Map(MapPlace { target, method: 0, layer });
            let found = named.iter().find(|(other, _)| *other == meaning);
            found.map(|(_, value)| *value).ok_or_else(|| {
                Error::new(ErrorKind::Engine, format!("the graph has no map {meaning}"))
            })
        };
        let layers = self.setup.maps_of(self.setup.methods[0]).max(self.setup.scales.len());
        let mut b = Builder::new(&mut graph, "cam/out");
        let mut maps: Vec<Vec<ValueId>> = Vec::with_capacity(targets.len());
        for target in 0..targets.len() {
            let of_target = (0..layers).map(|layer| {
                let map = map_of(target, layer)?;
                Ok(b.cast(map, DataType::Float)?)
            });
            maps.push(of_target.collect::<Result<_>>()?);
        }
        let outputs = self.explanation_outputs(&mut b, image, &targets, &maps)?;
        let mut values = Vec::with_capacity(outputs.len());
        for (name, value) in outputs {
            values.push(graph.alias(value, &name)?);
        }
        let model = match settings.heads {
            ExportHeads::All => append(&graph, &self.setup.model, &values)?,
            ExportHeads::CamOnly => prune(&graph, &values)?,
        };
        let model = match settings.weights {
            ExportWeights::AsTheyAre => model,
            ExportWeights::Half => model.with_half_weights()?,
        };
        let shape = |value: ValueId| graph.fact(value).shape.clone().unwrap_or_default();
        let outputs = values.iter().map(|value| (graph.name(*value).to_owned(), shape(*value)));
        Ok(ExportedModel {
            outputs: outputs.collect(),
            image_shape: shape(image),
            fixed_batch: None,
            model: model.with_metadata(self.export_metadata(&settings.targets)),
        })
    }

    /// The outputs of an explanation: their names, and the values, in float32 and int64.
    fn explanation_outputs(
        &self,
        b: &mut Builder<'_>,
        image: ValueId,
        targets: &[TargetValues],
        maps: &[Vec<ValueId>],
    ) -> Result<Vec<(String, ValueId)>> {
        let method = self.setup.methods[0];
        let space = self.inputs.image.space();
        let size = space.map(|axis| b.size(image, axis)).collect::<Result<Vec<_>, _>>()?;
        let fusion = self.setup.maps.fusion_of(method);
        let mut of_maps: Vec<Vec<ValueId>> = Vec::new();
        let mut of_heatmaps: Vec<Vec<ValueId>> = Vec::new();
        for (target, of_target) in targets.iter().zip(maps) {
            if method.info().site.picture().is_some() {
                of_maps.push(of_target.clone());
                let magnitude = |map: &ValueId| heatmap::magnitude(b, *map);
                of_heatmaps.push(of_target.iter().map(magnitude).collect::<Result<_>>()?);
            } else if !self.setup.scales.is_empty() {
                let Some(anchor) = target.anchor else {
                    bail!(Target, "the target has no anchor, so no scale is that of its box");
                };
                let chosen = heatmap::Scales::of(b, &self.setup.scales, anchor)?;
                of_maps.push(vec![chosen.map(b, of_target)?]);
                let heatmaps = of_target.iter().map(|map| heatmap::heatmap(b, *map, &size));
                let heatmaps: Vec<ValueId> = heatmaps.collect::<Result<_>>()?;
                of_heatmaps.push(vec![chosen.select(b, &heatmaps)?]);
            } else {
                of_maps.push(of_target.clone());
                let settings = self.setup.maps.heatmaps_of(method);
                of_heatmaps.push(heatmap::heatmaps(b, of_target, &size, &settings)?);
            }
        }
        let mut outputs = Vec::new();
        let fused = fusion != Fusion::None;
        for (name, of_targets) in [(EXPORTED_MAP, of_maps), (EXPORTED_HEATMAP, of_heatmaps)] {
            let count = of_targets.first().map_or(0, Vec::len);
            for at in 0..count {
                let each: Vec<ValueId> =
                    of_targets.iter().filter_map(|values| values.get(at).copied()).collect();
                let is_one = count == 1 && !(fused && name == EXPORTED_MAP);
                let name = if is_one { name.to_owned() } else { format!("{name}.{at}") };
                outputs.push((name, stacked(b, &each)?));
            }
        }
        let classes: Vec<ValueId> = targets.iter().map(|target| target.class).collect();
        outputs.push((EXPORTED_CLASS.to_owned(), stacked(b, &classes)?));
        Ok(outputs)
    }

    /// The metadata of an exported model.
    fn export_metadata(&self, targets: &ExportTargets) -> [(&'static str, String); 4] {
        let method = self.setup.methods[0];
        let layers: Vec<&str> = match method.info().is_of_input() {
            true => vec![&self.setup.image[0].0],
            false => self.setup.layers.iter().map(|(path, _)| path.as_str()).collect(),
        };
        let targets = match targets {
            ExportTargets::Input => "input".to_owned(),
            ExportTargets::Fixed(specs) => {
                specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
        };
        [
            (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            ("gradcam.method", method.id().to_owned()),
            ("gradcam.layer", layers.join(",")),
            ("gradcam.target", targets),
        ]
    }
}

/// The values of several targets, `[N, K, …]`; those of one stay `[N, …]`.
fn stacked(b: &mut Builder<'_>, values: &[ValueId]) -> Result<ValueId> {
    if let [one] = values {
        return Ok(*one);
    }
    let apart = values.iter().map(|value| {
        let mut shape = b.shape(*value)?;
        shape.insert(1, Dim::Fixed(1));
        b.reshape(*value, &shape)
    });
    let apart = apart.collect::<Result<Vec<_>, _>>()?;
    Ok(b.concat(&apart, 1)?)
}
