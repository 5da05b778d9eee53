//! The definitions of commands and flags. Parser, help, completions and manual come from them.

mod compare;
mod concepts;
mod export;
mod grad;
mod heatmap;
mod method;
mod model;
mod picture;
mod target;
mod values;

use std::{
    ffi::OsString,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueHint};
use gradcam::{
    HeadKind, Method,
    engine::Provider,
    image::{
        Filter, Overrides,
        preprocess::{Channels, Fit, Layout},
    },
};

pub(crate) use self::{
    compare::CompareArgs,
    concepts::ConceptsArgs,
    export::{ExplainedArgs, ExportArgs, InspectArgs},
    grad::GradArgs,
    method::MethodArgs,
    model::{EngineArgs, TokenArgs},
    picture::{PictureArgs, StyleArgs},
    target::TargetArgs,
};
use crate::{
    engine::EngineChoice,
    failure::{Failure, Result},
};

use heatmap::HeatmapArgs;

/// Show where an ONNX image model looked
///
/// gradcam explains what an image classifier, segmenter or any other ONNX network with feature maps
/// looked at: Grad-CAM and its family, computed from the .onnx file alone.
#[derive(Debug, Parser)]
#[command(
    name = "gradcam",
    version,
    long_version = values::LONG_VERSION.as_str(),
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    styles = values::STYLES,
    after_help = values::EXAMPLES,
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show where the model looked, one picture for each image and target
    #[command(after_help = "Examples and more about each flag: gradcam explain --help",
              after_long_help = values::EXPLAIN_EXAMPLES)]
    Explain(Box<ExplainArgs>),
    /// Put maps of several methods, layers or models side by side on one labeled sheet
    #[command(after_help = "Examples and more about each flag: gradcam compare --help",
              after_long_help = values::COMPARE_EXAMPLES)]
    Compare(Box<CompareArgs>),
    /// Show what a layer is made of, without a target: its concepts, each in a color, with the classes that it speaks for
    #[command(after_help = "Examples and more about each flag: gradcam concepts --help",
              after_long_help = values::CONCEPTS_EXAMPLES)]
    Concepts(Box<ConceptsArgs>),
    /// Write a model that explains itself: yours, with the heatmap as one more output, for any engine
    #[command(after_long_help = values::EXPORT_EXAMPLES)]
    Export(Box<ExportArgs>),
    /// Write a model with the gradient of any value as further outputs, for any engine
    #[command(after_long_help = values::GRAD_EXAMPLES)]
    Grad(GradArgs),
    /// Show what a model and its explanation are made of: nodes, operators, operations and bytes
    #[command(after_long_help = values::INSPECT_EXAMPLES)]
    Inspect(Box<InspectArgs>),
    /// List the layers of a model: those that can be explained, and the default
    #[command(after_long_help = values::LAYERS_EXAMPLES)]
    Layers(LayersArgs),
    /// Measure what an explanation costs over plain inference, with a model of yours on this machine
    #[command(after_long_help = values::BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// List the methods: what each computes, and where it was published
    #[command(after_long_help = values::METHODS_EXAMPLES)]
    Methods(MethodsArgs),
    /// Print a completion script for a shell
    #[command(hide = true, after_help = values::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, as roff
    #[command(hide = true, after_help = values::MAN_EXAMPLES)]
    Man {
        /// The command whose page is wanted; the overview where none is named
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// The arguments of `gradcam explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Photos (JPEG, PNG, WebP, TIFF, BMP, GIF) or tensors (.npy), folders of them, patterns such as
    /// 'photos/**/*.jpg', or @FILE with one of these a line; - reads standard input
    ///
    /// The pictures of a folder and of those in it are explained in the order of their names, and their
    /// files keep the folders. Of a GIF or TIFF with several frames or pages the first one is explained.
    ///
    /// A photo is turned upright, resized and normalized as the model expects; where the network takes
    /// integers, its pixels are 0 to 255. A network of 4 channels takes red, green, blue and opacity, one of 2
    /// gray and opacity, which is 255 where a photo has none. A .npy file goes into the network as it is: float32 or the type that
    /// the network takes, [C, H, W] for one image or [N, C, H, W] for N of them (for models that take
    /// [N, H, W, C], the same with the channels last; 1-D and 3-D models take [C, L] and [C, D, H, W]).
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<PathBuf>,

    /// The ONNX model [default: EfficientNet-Lite0, built in, 1000 classes of ImageNet]
    #[arg(short, long, value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,

    /// The layer to explain: a module path, a node or value name, or -1 for the last
    ///
    /// `gradcam layers MODEL` lists them and says why the default is one. May be given several times:
    /// each layer gets its own map, all from one run, unless --fuse makes one heatmap of them. The methods
    /// saliency and guided-backprop explain the network's input and take no layer.
    #[arg(long = "layer", value_name = "LAYER", allow_hyphen_values = true)]
    pub(crate) layers: Vec<String>,

    #[command(flatten)]
    pub(crate) tokens: TokenArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) method: MethodArgs,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Images in one run of the network [default: the model's batch size, or 1]
    ///
    /// Needs a model with an open batch size. 1 is fastest on most processors, because several runs are
    /// made at once; the device of a --provider may be faster with more.
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) batch: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) heatmap: HeatmapArgs,

    #[command(flatten)]
    pub(crate) picture: PictureArgs,

    #[command(flatten)]
    pub(crate) prepare: PrepareArgs,
}

/// The arguments about the model's inputs and outputs.
#[derive(Debug, Args)]
pub(crate) struct SignatureArgs {
    /// The value of an input beside the image, from a .npy file: NAME=FILE; once for each input
    ///
    /// The input without a value takes the images; if several remain, the one that the scores depend on,
    /// that is most like a photo, that has an image's name, and that is largest, in this order. The file holds floats for an input of floats, integers for one of integers, booleans or
    /// 0 and 1 for one of booleans. Where the model declares the first axis like that of the images
    /// (open, or of the same size), a tensor with 1 row, or without that axis, is used for each image,
    /// and a tensor with N rows for the N images of a .npy file.
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = values::input)]
    pub(crate) inputs: Vec<(String, PathBuf)>,

    /// The output that holds the scores, or any value of the model [default: the first output of floats]
    ///
    /// With an index as NumPy writes it, a part of the value is explained, summed: 'logits[:,3]', 'heatmap[:,17]'.
    /// Of several outputs, one that is called logits or scores comes first; a message says which it is.
    #[arg(long, value_name = "NAME")]
    pub(crate) output_name: Option<String>,

    /// What the scores are [default: what the graph and the files beside the model say]
    ///
    /// `gradcam layers MODEL` says which it is and why. softmax: one class is right. sigmoid: several labels.
    /// binary: two classes by one logit. regression: values. segmentation: classes of pixels. detection: boxes.
    /// sequence: classes of time steps. embedding: a vector.
    #[arg(long, value_name = "KIND", value_parser = values::heads())]
    pub(crate) head: Option<HeadKind>,
}

/// The arguments about files and messages.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// The file, or a folder (made if it ends in /); - is standard output
    /// [default: the current folder]
    ///
    /// It is the name of the file where one file results, and a folder where it is one already, ends
    /// in / or where several files result. Files in a folder are called IMAGE.TARGET.png, such as
    /// cat.285-egyptian-cat.png (photos/a/cat.jpg of the folder photos becomes a/cat.…), with .LAYER and .METHOD behind the target where several were asked
    /// for, and .0, .1, … behind IMAGE for the images of one .npy file. Existing files are replaced.
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,

    /// What to write, separated by commas
    ///
    /// png: the heatmap over the photo, as the flags under Picture say; for a .npy image, which has no photo, the
    /// heatmap alone in colors, at the size of the network's input (a strip for a 1-D model, the slices
    /// along the depth for a 3-D one). saliency and guided-backprop give pictures of that size, without
    /// the photo: the gradient's magnitude in gray (one pixel in a hundred is white), and the gradient in
    /// colors as deprocess_image of pytorch-grad-cam.
    /// npy: two files, .raw.npy (float32 [h, w]: the map as the method defines it, signed, before
    /// relu, at the layer's size; [C, H, W] for saliency and guided-backprop) and .heatmap.npy
    /// (float32 [H, W] in 0..1, at the size of the network's input).
    /// json: scores, target, layer, warnings, preprocessing, times.
    #[arg(long = "format", value_name = "FORMAT", default_value = "png", value_delimiter = ',',
          value_parser = values::formats())]
    pub(crate) formats: Vec<Format>,

    /// How many classes to list
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub(crate) top: usize,

    /// Print one JSON object a line for each image, target and method instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but errors
    #[arg(short, long, conflicts_with_all = ["json", "verbose"])]
    pub(crate) quiet: bool,

    /// Print also the engine, the layer and the preprocessing, each with the reason, and the time of each stage
    ///
    /// For a quantized model, print also the scores of ONNX Runtime with its defaults, where they differ on
    /// this processor.
    #[arg(short, long, conflicts_with = "json", action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
}

/// The arguments about preprocessing and labels.
#[derive(Debug, Args)]
#[command(next_help_heading = "Preprocessing (default: what the model or a file beside it says)")]
pub(crate) struct PrepareArgs {
    /// The network's input where the model leaves it open: 224 or 320x240 (width x height)
    ///
    /// Without it, what the model or a file beside it says; else the size of the first image that is a
    /// tensor; for a network that scores each pixel at any size, the photo's own shape, with sides of at most
    /// 640; for one of a fixed height, that height and the photo's shape; else 224x224.
    #[arg(long, value_name = "SIZE", visible_alias = "crop", value_parser = values::size)]
    size: Option<(u32, u32)>,

    /// How a photo of another shape fits: center crop, distort, or borders
    #[arg(long, value_name = "FIT", value_parser = values::fits())]
    fit: Option<Fit>,

    /// Length of the photo's short side before the center crop; with --fit squash that of the distorted photo's
    #[arg(long, value_name = "PIXELS", value_parser = values::side)]
    short_side: Option<NonZeroU32>,

    /// The filter of the resize, as in Pillow
    #[arg(long, value_name = "FILTER", value_parser = values::filters())]
    filter: Option<Filter>,

    /// What pixel values (0 to 255) are multiplied by, such as 1/255
    #[arg(long, value_name = "FACTOR", value_parser = values::factor)]
    rescale: Option<f64>,

    /// What is subtracted after that: one number, or one for each channel, as 0.485,0.456,0.406
    #[arg(long, value_name = "MEAN", value_parser = values::finite, value_delimiter = ',', allow_hyphen_values = true)]
    mean: Option<Vec<f32>>,

    /// What is divided by after that: one number, or one for each channel, as 0.229,0.224,0.225
    #[arg(long, value_name = "STD", value_parser = values::divisor, value_delimiter = ',', allow_hyphen_values = true)]
    std: Option<Vec<f32>>,

    /// The order of the axes of the network's input
    #[arg(long, value_name = "LAYOUT", value_parser = values::layouts())]
    layout: Option<Layout>,

    /// The channels that the network takes
    #[arg(long, value_name = "CHANNELS", value_parser = values::channels())]
    channels: Option<Channels>,

    /// Take the usual preprocessing of ImageNet models where nothing else is said, without a warning
    #[arg(long, value_name = "PRESET", value_parser = ["imagenet"])]
    preset: Option<String>,

    /// The names of the classes: a text file with one a line, or JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    labels: Option<PathBuf>,
}

impl PrepareArgs {
    /// The same for the library.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            size: self.size,
            fit: self.fit,
            short_side: self.short_side.map(NonZeroU32::get),
            filter: self.filter,
            rescale: self.rescale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            layout: self.layout,
            channels: self.channels,
            imagenet: self.preset.is_some(),
            labels: self.labels.clone(),
        }
    }
}

/// The arguments of `gradcam layers`.
#[derive(Debug, Args)]
pub(crate) struct LayersArgs {
    /// The ONNX model [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    /// The network's input where the model leaves it open: 224 or 320x240 (width x height)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) size: Option<(u32, u32)>,

    /// The order of the axes of the network's input
    #[arg(long, value_name = "LAYOUT", value_parser = values::layouts())]
    pub(crate) layout: Option<Layout>,

    /// The levels of the tree: a number, or all [default: all, or 2 where the tree is longer than 100 lines]
    ///
    /// The default layer is listed at any level. JSON always has all of them.
    #[arg(long, value_name = "N", value_parser = values::depth)]
    pub(crate) depth: Option<Depth>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,

    /// Print one JSON object instead of the tree
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `gradcam bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The ONNX model [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) signature: SignatureArgs,

    /// What runs the network; several are measured one after the other [default: auto]
    #[arg(long = "engine", value_name = "ENGINE", value_parser = values::engines())]
    pub(crate) engines: Vec<EngineChoice>,

    /// The layer to explain; several are measured one after the other [default: as of explain]
    #[arg(long = "layer", value_name = "LAYER", allow_hyphen_values = true)]
    pub(crate) layers: Vec<String>,

    /// How a map is computed; several are measured one after the other
    #[arg(long = "method", value_name = "METHOD", default_value = Method::default().id(),
          value_parser = values::methods())]
    pub(crate) methods: Vec<Method>,

    /// Measure this row of the table alone, as JSON: what several rows do, each in a process of its own
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) row: Option<usize>,

    /// Pairs of inference and explanation, which are run in turn
    #[arg(long, value_name = "N", default_value = "31", value_parser = values::number)]
    pub(crate) pairs: NonZeroUsize,

    /// Threads of the engine [default: as many as cores]
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// What ONNX Runtime computes on, such as cuda or coreml [default: the processor]
    #[arg(long, value_name = "NAME", value_parser = values::providers())]
    pub(crate) provider: Option<Provider>,

    /// An entry of ONNX Runtime's session configuration, such as session.x64quantprecision=1
    #[arg(long = "session-config", value_name = "KEY=VALUE", value_parser = values::entry)]
    pub(crate) session_config: Vec<(String, String)>,

    /// The network's input where the model leaves it open: 224 or 320x240 (width x height)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) size: Option<(u32, u32)>,

    /// Print one JSON object a line instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `gradcam methods`.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// Print a JSON array instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How deep the tree of modules is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// That many levels.
    Levels(NonZeroUsize),
    /// To the innermost modules.
    All,
}

/// A kind of file that is written for each map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Npy,
    Json,
}

/// The format of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SheetFormat {
    Png,
    Svg,
}

/// Reads the arguments behind the name of the program.
pub(crate) fn parse(words: &[OsString]) -> Result<Command> {
    let name = OsString::from("gradcam");
    let words = std::iter::once(&name).chain(words);
    Cli::try_parse_from(words).map(|cli| cli.command).map_err(Failure::Clap)
}

/// The definitions, for completions and manual.
pub(crate) fn definitions() -> clap::Command {
    Cli::command()
}
