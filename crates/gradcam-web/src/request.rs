//! What the page asks for, as JSON.

use std::path::PathBuf;

use gradcam::{
    ExplainerBuilder, ExportHeads, Grid, HeadKind, Method, MethodSettings,
    image::{
        Colormap, Filter, Fusion, OverlayKind, OverlayStyle, Overrides,
        preprocess::{Channels, Fit, Layout},
    },
};
use serde::Deserialize;

/// What is said of a model beside its files. Names and values are those of the command line.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Width and height of the network's input.
    pub size: Option<(u32, u32)>,
    /// How a photo fits: `crop`, `squash`, `pad`.
    pub fit: Option<String>,
    /// The length of the short side before a center crop.
    pub short_side: Option<u32>,
    /// The filter of the resize.
    pub filter: Option<String>,
    /// The factor of 8-bit values.
    pub rescale: Option<f64>,
    /// The mean of each channel, or one for all.
    pub mean: Option<Vec<f32>>,
    /// The standard deviation of each channel, or one for all.
    pub std: Option<Vec<f32>>,
    /// The order of the axes: `nchw`, `nhwc`.
    pub layout: Option<String>,
    /// The channels: `rgb`, `bgr`, `gray`, `rgba`, `gray-alpha`.
    pub channels: Option<String>,
    /// Whether the defaults of ImageNet are right.
    pub imagenet: bool,
    /// The name of the dropped file that holds the labels.
    pub labels: Option<PathBuf>,
    /// The output that holds the scores.
    pub output: Option<String>,
    /// What the scores are.
    pub head: Option<String>,
    /// Rows and columns of a transformer's tokens.
    pub grid: Option<(i64, i64)>,
    /// The number of tokens in front of them.
    pub prefix_tokens: Option<i64>,
}

/// A value by its name in a table.
fn named<T: Copy>(name: &str, value: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(known, _)| *known == value);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        format!("{name} is \"{value}\"; there are: {}", names.join(", "))
    })
}

impl ModelSettings {
    /// Sets all of them.
    pub(crate) fn set(&self, builder: ExplainerBuilder) -> Result<ExplainerBuilder, String> {
        let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let mut builder = builder
            .grid(Grid { size: self.grid, prefix: self.prefix_tokens })
            .preprocess(Overrides {
                size: self.size,
                fit: text(&self.fit).map(|fit| named("fit", &fit, &Fit::ALL)).transpose()?,
                short_side: self.short_side,
                filter: text(&self.filter)
                    .map(|filter| filter.parse::<Filter>().map_err(|e| e.to_string()))
                    .transpose()?,
                rescale: self.rescale,
                mean: self.mean.clone(),
                std: self.std.clone(),
                layout: text(&self.layout)
                    .map(|name| named("layout", &name, &Layout::ALL))
                    .transpose()?,
                channels: text(&self.channels)
                    .map(|name| named("channels", &name, &Channels::ALL))
                    .transpose()?,
                imagenet: self.imagenet,
                labels: self.labels.clone(),
            });
        if let Some(output) = text(&self.output) {
            builder = builder.output(output);
        }
        if let Some(head) = text(&self.head) {
            builder = builder.head(head.parse::<HeadKind>().map_err(|e| e.to_string())?);
        }
        Ok(builder)
    }
}

/// What is explained of a photo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The number of the model.
    pub model: u32,
    /// The number of the photo.
    pub photo: u32,
    /// The target as on the command line; `argmax` where it is missing.
    #[serde(default = "argmax")]
    pub target: String,
    /// In place of a target: an area of the photo, `[x, y, width, height]` in its pixels. The box of a detector that overlaps
    /// most with it is explained.
    pub area: Option<[f64; 4]>,
    /// How the map is made.
    #[serde(default)]
    pub map: MapRequest,
}

fn argmax() -> String {
    "argmax".to_owned()
}

/// How maps are made. Equal requests share what was compiled.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct MapRequest {
    /// The layers; none is the default layer.
    pub layers: Vec<String>,
    /// The id of the method; none is Grad-CAM, or the default of the head.
    pub method: Option<String>,
    /// How one heatmap is made of several layers: `none`, `mean`, `max`, `product`.
    pub fuse: Option<String>,
    /// The seed of methods that draw random numbers.
    pub seed: u64,
    /// The number of samples.
    pub samples: Option<std::num::NonZeroUsize>,
    /// The most inferences of a method that runs the network for each channel.
    pub budget: Option<std::num::NonZeroUsize>,
}

impl MapRequest {
    /// Sets all of them.
    pub(crate) fn set(&self, builder: ExplainerBuilder) -> Result<ExplainerBuilder, String> {
        let mut builder = builder.layers(&self.layers).method_settings(MethodSettings {
            seed: self.seed,
            samples: self.samples,
            budget: self.budget,
            ..MethodSettings::default()
        });
        if let Some(method) = &self.method {
            builder = builder.method(method.parse::<Method>().map_err(|e| e.to_string())?);
        }
        if let Some(fuse) = &self.fuse {
            builder = builder.fusion(fuse.parse::<Fusion>().map_err(|e| e.to_string())?);
        }
        Ok(builder)
    }
}

/// What a model that explains itself holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The number of the model.
    pub model: u32,
    /// The targets as on the command line, or `input` alone.
    pub targets: Vec<String>,
    /// The outputs: `all` or `cam-only`.
    #[serde(default = "all_heads")]
    pub heads: String,
    /// Whether weights are stored as 16-bit floats.
    #[serde(default)]
    pub fp16: bool,
    /// How the map is made.
    #[serde(default)]
    pub map: MapRequest,
}

fn all_heads() -> String {
    "all".to_owned()
}

impl ExportRequest {
    pub(crate) fn heads(&self) -> Result<ExportHeads, String> {
        named("heads", &self.heads, &ExportHeads::ALL)
    }
}

/// How a picture is drawn. Names and values are those of the command line.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PictureStyle {
    /// How heat and photo are mixed.
    pub kind: String,
    /// The colors of the heat.
    pub colormap: String,
    /// The weight of the heat, 0..1.
    pub alpha: f64,
    /// Whether a bar shows the colors.
    pub colorbar: bool,
}

impl Default for PictureStyle {
    fn default() -> Self {
        Self { kind: "alpha".to_owned(), colormap: "jet".to_owned(), alpha: 0.5, colorbar: false }
    }
}

impl PictureStyle {
    pub(crate) fn overlay(&self) -> Result<OverlayStyle, String> {
        let kind = named("kind", &self.kind, &OverlayKind::ALL)?;
        Ok(OverlayStyle {
            kind,
            colormap: self.colormap.parse::<Colormap>().map_err(|e| e.to_string())?,
            alpha: self.alpha,
            colorbar: self.colorbar && kind.is_tint(),
            ..OverlayStyle::default()
        })
    }
}
