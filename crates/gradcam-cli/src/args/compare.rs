//! The flags of `gradcam compare`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueHint};
use gradcam::Method;

use super::{
    EngineArgs, HeatmapArgs, MethodNumbers, PrepareArgs, SheetFormat, SignatureArgs, StyleArgs,
    TokenArgs, values,
};

/// The arguments of `gradcam compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Photos (JPEG, PNG, WebP, TIFF, BMP, GIF), folders of them, patterns such as 'photos/**/*.jpg', or @FILE with one of
    /// these a line; - reads standard input
    ///
    /// Each photo has a row for each target.
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<PathBuf>,

    /// The ONNX model [default: EfficientNet-Lite0, built in, 1000 classes of ImageNet]
    ///
    /// May be given several times: each model has columns of its own, and each map the class of its model below it.
    #[arg(short, long = "model", value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) models: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,

    /// The layers to explain, separated by commas; each has columns of its own
    ///
    /// A layer is a module path, a node or value name, or -1 for the last; `gradcam layers MODEL` lists them.
    #[arg(long = "layer", value_name = "LAYER", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) layers: Vec<String>,

    #[command(flatten)]
    pub(crate) tokens: TokenArgs,

    /// What to explain, separated by commas; each has a row of its own
    ///
    /// As --target of `gradcam explain`: argmax, a class number or label, A-B, top:K, p:CLASS, neg:CLASS, CLASS@K. A label
    /// with a comma is written as one of its synonyms.
    #[arg(
        long = "target",
        value_name = "TARGET",
        default_value = "argmax",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub(crate) targets: Vec<String>,

    /// How maps are computed, separated by commas; each has a column of its own
    /// [default: gradcam; hirescam for a box or a time step]
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',',
          value_parser = values::methods())]
    pub(crate) methods: Vec<Method>,

    #[command(flatten)]
    pub(crate) numbers: MethodNumbers,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Threads of the engine [default: as many as cores]
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Refuse a run, a photo or a sheet that would need more memory than this, such as 2GiB or 500MB
    /// [default: half of what the process may use]
    #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
    pub(crate) max_memory: Option<u64>,

    #[command(flatten)]
    pub(crate) sheet: SheetArgs,

    #[command(flatten)]
    pub(crate) heatmap: HeatmapArgs,

    #[command(flatten)]
    pub(crate) style: StyleArgs,

    #[command(flatten)]
    pub(crate) prepare: PrepareArgs,
}

/// The arguments about the sheet.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sheet")]
pub(crate) struct SheetArgs {
    /// The file of the sheet, .png or .svg; - is standard output
    #[arg(short, long, value_name = "PATH", default_value = "compare.png",
          value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// What the sheet is [default: what the name of the file says]
    ///
    /// svg has text as text and the pictures inside, for a drawing program or a paper.
    #[arg(long, value_name = "FORMAT", value_parser = values::sheet_formats())]
    pub(crate) format: Option<SheetFormat>,

    /// The width of a column in millimeters
    ///
    /// A tall photo is narrower, so that it is at most a quarter higher than the column is wide.
    #[arg(long, value_name = "MM", default_value_t = 32, value_parser = clap::value_parser!(u32).range(10..=500))]
    pub(crate) cell: u32,

    /// Pixels per inch, which the file says to those who print it
    #[arg(long, value_name = "DPI", default_value_t = 300, value_parser = clap::value_parser!(u32).range(36..=2400))]
    pub(crate) dpi: u32,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
