//! Benchmarks: an explanation over plain inference, same engine, same input, same process.
//!
//! ```text
//! cargo run --release -p bench -- resnet50 --engine rten
//! ORT_DYLIB_PATH=…/libonnxruntime.so cargo run --release -p bench -- resnet50 my_model.onnx
//! ORT_DYLIB_PATH=…/libonnxruntime.so cargo run --release -p bench -- resnet50 --load --pairs 7
//! ```
//!
//! Plain inference and explanation are run in turn, and the ratio is taken pair by pair, so that it
//! holds when the machine's speed drifts.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod load;
mod photos;
mod worker;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Parser;
use gradcam::{
    Explainer, ExplainerBuilder, Method, Model, TargetSpec,
    engine::{self, EngineKind},
    measure::Cost,
};
use testkit::NETWORKS;

/// Times an explanation against plain inference.
#[derive(Parser)]
struct Args {
    /// ONNX models with one image input, or a network of the fixtures, such as resnet50.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Engines to measure.
    #[arg(long, default_values_t = EngineKind::ALL)]
    engine: Vec<EngineKind>,
    /// Layers to explain; the default layer where none is named.
    #[arg(long)]
    layer: Vec<String>,
    /// The method; without it that which fits the target.
    #[arg(long)]
    method: Option<Method>,
    /// What is explained, such as top:5.
    #[arg(long, default_value = "argmax")]
    target: Vec<String>,
    /// Interleaved pairs to count.
    #[arg(long, default_value_t = 31)]
    pairs: usize,
    /// Threads of a run.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Instead: open, differentiate and compile, over the engine's own load of the file.
    #[arg(long)]
    load: bool,
    #[arg(long, hide = true)]
    load_child: Option<String>,
    /// Instead: answer to lines on standard input, such as "argmax 3", for the first engine.
    #[arg(long)]
    worker: bool,
    /// Instead: read, prepare and infer these photos, without an explanation.
    #[arg(long, num_args = 1..)]
    photos: Vec<PathBuf>,
    /// Exit with 1 where the median ratio is larger.
    #[arg(long)]
    at_most: Option<f64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let layer = args.layer.first().map(String::as_str);
    if let (Some(how), [kind], [path]) =
        (&args.load_child, args.engine.as_slice(), args.models.as_slice())
    {
        return load::here(path, *kind, layer, how);
    }
    if let ([kind, ..], [path, ..]) = (args.engine.as_slice(), args.models.as_slice()) {
        if args.worker {
            let layers: Vec<&str> = args.layer.iter().map(String::as_str).collect();
            return worker::serve(
                &builder(&found(path)?, *kind, &layers, args.threads, args.method)?.build()?,
            );
        }
        if !args.photos.is_empty() {
            return photos::infer(&found(path)?, *kind, &args.photos);
        }
    }
    if args.load {
        for path in &args.models {
            for kind in &args.engine {
                load::compare(&found(path)?, *kind, layer, args.pairs)?;
            }
        }
        return Ok(());
    }
    let mut missed = false;
    println!("model, engine, layer: plain ms, explained ms, ratio [quartiles]; differentiate ms");
    for path in &args.models {
        let path = &found(path)?;
        let layers: Vec<Option<&str>> = match args.layer.as_slice() {
            [] => vec![None],
            layers => layers.iter().map(|layer| Some(layer.as_str())).collect(),
        };
        for kind in &args.engine {
            for layer in &layers {
                let ratio = measure(&args, path, *kind, *layer)
                    .with_context(|| format!("{} on {kind}", path.display()))?;
                missed |= args.at_most.is_some_and(|bound| ratio > bound);
            }
        }
    }
    anyhow::ensure!(!missed, "a ratio is above {}", args.at_most.unwrap_or_default());
    Ok(())
}

/// A file, or a network of the fixtures with weights from its seed, written to the temporary folder.
fn found(path: &Path) -> Result<PathBuf> {
    let name = path.to_string_lossy();
    if path.exists() || !NETWORKS.contains(&name.as_ref()) {
        return Ok(path.to_owned());
    }
    let file = std::env::temp_dir().join(format!("{name}.onnx"));
    testkit::network(&name).0.save(&file)?;
    Ok(file)
}

fn measure(args: &Args, path: &Path, kind: EngineKind, layer: Option<&str>) -> Result<f64> {
    let explainer = builder(path, kind, layer.as_slice(), args.threads, args.method)?.build()?;
    let x = explainer.example()?;
    let targets = parsed(args, &explainer)?;
    let first = explainer.explain(&x, &targets)?;
    let differentiate = first.iter().flatten().next().map(|e| e.timings.differentiate);
    let Cost { plain, explained, ratio, .. } = explainer.cost(x.view(), &targets, args.pairs)?;
    let layers: Vec<_> = explainer.layers().map(|(layer, _)| layer.to_owned()).collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    println!(
        "{name}, {kind}, {}: {:.1}, {:.1}, {:.3} [{:.3}, {:.3}]; {:.1}",
        layers.join(" "),
        plain.median,
        explained.median,
        ratio.median,
        ratio.low,
        ratio.high,
        differentiate.unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(ratio.median)
}

fn parsed(args: &Args, explainer: &Explainer) -> Result<Vec<TargetSpec>> {
    let targets = args.target.iter().map(|text| explainer.parse_target(text));
    Ok(targets.collect::<gradcam::Result<_>>()?)
}

/// An explainer of a file, on ONNX Runtime from `ORT_DYLIB_PATH`.
fn builder(
    path: &Path,
    kind: EngineKind,
    layers: &[&str],
    threads: Option<NonZeroUsize>,
    method: Option<Method>,
) -> Result<ExplainerBuilder> {
    let places = engine::library_places(std::env::var_os("ORT_DYLIB_PATH").as_deref(), &[]);
    let builder = Explainer::builder(Model::open(path)?).engine(kind).library_places(places);
    let builder = builder.layers(layers.iter().copied()).methods(method);
    Ok(match threads {
        Some(threads) => builder.threads(threads),
        None => builder,
    })
}
