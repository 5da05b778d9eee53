//! The flags of `gradcam export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use gradcam::{
    ExportHeads, Method,
    image::{Fusion, Overrides, preprocess::Layout},
};

use super::{SignatureArgs, TokenArgs, values};

/// The arguments of `gradcam export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write; weights of 2 GiB and more go to a second one beside it, FILE.data
    #[arg(short, long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) explained: ExplainedArgs,

    /// The outputs: those of the model and behind them gradcam's, or gradcam's alone
    #[arg(long, value_name = "HEADS", default_value = "all", value_parser = values::export_heads())]
    pub(crate) heads: ExportHeads,

    /// Store weights as 16-bit floats, which halves the file; everything is still computed in float32
    #[arg(long)]
    pub(crate) fp16: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The arguments of `gradcam inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) explained: ExplainedArgs,

    /// Print every node, those of the explanation with a +, instead of the table of operators
    #[arg(long, conflicts_with_all = ["dot", "json", "svg"])]
    pub(crate) graph: bool,

    /// Print the way from the layer to the scores and the explanation as DOT, which Graphviz draws
    #[arg(long, conflicts_with_all = ["json", "svg"])]
    pub(crate) dot: bool,

    /// Write the way from the layer to the scores and the explanation as an SVG picture; - is standard output
    ///
    /// A box for each node has its operator, the shape of its result and its name. The explanation has another color, and
    /// dashed lines are what it reads of the model. Where the pointer rests on a node of a gradient, the picture names the
    /// node that it differentiates.
    #[arg(long, value_name = "FILE", conflicts_with = "json", value_hint = ValueHint::FilePath)]
    pub(crate) svg: Option<PathBuf>,

    /// Print one JSON object with all nodes
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments about a model and what is explained of it.
#[derive(Debug, Args)]
pub(crate) struct ExplainedArgs {
    /// The ONNX model [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    /// The layer to explain: a module path, a node or value name, or -1 for the last
    ///
    /// `gradcam layers MODEL` lists them and says why the default is one. Of several each has its own map and heatmap,
    /// gradcam.map.0, gradcam.map.1 and so on, unless --fuse makes one heatmap of them.
    #[arg(long = "layer", value_name = "LAYER", allow_hyphen_values = true)]
    pub(crate) layers: Vec<String>,

    #[command(flatten)]
    pub(crate) tokens: TokenArgs,

    /// What the model explains: argmax, a class number or label, A-B, top:K, p:CLASS, neg:CLASS, or input
    ///
    /// The target is a part of the model. argmax is the class with the largest score, of each image. Several targets, or
    /// top:3, give maps [N, K, h, w]. With input, the class is an input of the model, gradcam.target, int64 [N]; -1 is
    /// the class with the largest score.
    #[arg(
        long = "target",
        value_name = "TARGET",
        default_value = "argmax",
        allow_hyphen_values = true
    )]
    pub(crate) targets: Vec<String>,

    /// What an embedding is compared with: a photo, or a vector in a .npy file; it is a part of the model
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "targets")]
    pub(crate) similar_to: Option<PathBuf>,

    /// How a map is computed: a method that is a part of the graph; `gradcam methods` explains them
    /// [default: gradcam; hirescam for a box or a time step]
    #[arg(long, value_name = "METHOD", value_parser = values::methods())]
    pub(crate) method: Option<Method>,

    /// Make one heatmap of the maps of several layers: mean, max or product, as `gradcam explain --fuse`
    #[arg(long = "fuse", value_name = "FUSION", default_value = "none", value_parser = values::fusions())]
    pub(crate) fusion: Fusion,

    /// The network's input where the model leaves it open: 224 or 320x240 (width x height)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) size: Option<(u32, u32)>,

    /// The order of the axes of the network's input
    #[arg(long, value_name = "LAYOUT", value_parser = values::layouts())]
    pub(crate) layout: Option<Layout>,

    /// The names of the classes, for targets by name: a text file with one a line, or JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) labels: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,
}

impl ExplainedArgs {
    /// What is said of photos, as far as an exported model depends on it.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            size: self.size,
            layout: self.layout,
            imagenet: true,
            labels: self.labels.clone(),
            ..Overrides::default()
        }
    }
}
