//! The flags of `gradcam concepts`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueHint};

use super::{EngineArgs, Format, PrepareArgs, SignatureArgs, TokenArgs, values};

/// The arguments of `gradcam concepts`.
#[derive(Debug, Args)]
pub(crate) struct ConceptsArgs {
    /// Photos (JPEG, PNG, WebP, TIFF, BMP, GIF), or one file of tensors (.npy), folders of them, patterns such as
    /// 'photos/**/*.jpg', or @FILE with one of these a line; - reads standard input
    ///
    /// All images share their concepts: a color stands for the same in each.
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<PathBuf>,

    /// The ONNX model [default: EfficientNet-Lite0, built in, 1000 classes of ImageNet]
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,

    /// The layer: a module path, a node or value name, or -1 for the last; `gradcam layers MODEL` lists them
    #[arg(long, value_name = "LAYER", allow_hyphen_values = true)]
    pub(crate) layer: Option<String>,

    #[command(flatten)]
    pub(crate) tokens: TokenArgs,

    /// The number of concepts; at most as many as the layer has channels, or positions in all images
    #[arg(long, value_name = "K", default_value = "5", value_parser = values::number)]
    pub(crate) components: NonZeroUsize,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    #[command(flatten)]
    pub(crate) output: ConceptsOutputArgs,

    #[command(flatten)]
    pub(crate) prepare: PrepareArgs,
}

/// The arguments about files and messages.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ConceptsOutputArgs {
    /// The file, or a folder (made if it ends in /); - is standard output
    /// [default: the current folder]
    ///
    /// Files in a folder are called IMAGE.concepts.png. Existing files are replaced.
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,

    /// What to write, separated by commas
    ///
    /// png: the photo, each place in the color of the concept that is strongest there, and beside it the share of each
    /// concept and the classes that it speaks for. npy: two files, .raw.npy (float32 [components, h, w]: where each
    /// concept is, at the layer's size, 1 where it is strongest in all images) and .heatmap.npy (float32
    /// [components, H, W] in 0..1, at the size of the network's input). json: shares, colors, classes, layer, warnings.
    #[arg(long = "format", value_name = "FORMAT", default_value = "png", value_delimiter = ',',
          value_parser = values::formats())]
    pub(crate) formats: Vec<Format>,

    /// How many classes of each concept to list
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) top: usize,

    /// The share of the colors in the picture, from 0 to 1
    #[arg(long, value_name = "A", default_value_t = 0.7, value_parser = values::share)]
    pub(crate) alpha: f64,

    /// Print one JSON object a line for each image instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}
