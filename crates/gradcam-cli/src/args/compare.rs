//! The flags of `gradcam compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{
    EngineArgs, HeatmapArgs, MethodArgs, PrepareArgs, SheetFormat, SignatureArgs, StyleArgs,
    TargetArgs, TokenArgs, values,
};

/// The arguments of `gradcam compare`. Boxes have commas, and so do labels in full; only the targets of a sheet are a list.
#[derive(Debug, Args)]
#[command(mut_arg("targets", |arg| arg.value_delimiter(',')))]
pub(crate) struct CompareArgs {
    /// Photos (JPEG, PNG, WebP, TIFF, BMP, GIF) or tensors (.npy), folders of them, patterns such as 'photos/**/*.jpg', or
    /// @FILE with one of these a line; - reads standard input
    ///
    /// Each photo has a row for each target, and so has each image of a tensor, which goes into the network as it is and has
    /// no photo beside its heatmaps.
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

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) method: MethodArgs,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

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
