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

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use gradcam::{
    Explainer, Model, Target,
    engine::{self, EngineKind, EngineOptions, TensorView},
    ndarray::ArrayD,
    onnx_grad::{
        self, DeclaredDim, Dim,
        graph::{Graph, Sizes},
        prune,
    },
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
    /// Exit with 1 where the median ratio is larger.
    #[arg(long)]
    at_most: Option<f64>,
}

/// Threads of ONNX Runtime spin for about 27 ms after a run. Each run begins when those of the other
/// session are asleep.
const PAUSE: Duration = Duration::from_millis(45);

fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(how), [kind], [path]) =
        (&args.load_child, args.engine.as_slice(), args.models.as_slice())
    {
        return load::here(path, *kind, how);
    }
    if args.load {
        for path in &args.models {
            for kind in &args.engine {
                load::compare(&found(path)?, *kind, args.pairs)?;
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
    let model = Model::open(path)?;
    let places = engine::library_places(std::env::var_os("ORT_DYLIB_PATH").as_deref(), None);
    let mut builder = Explainer::builder(model.clone()).engine(kind).library_places(places.clone());
    if let Some(layer) = layer {
        builder = builder.layer(layer);
    }
    if let Some(threads) = args.threads {
        builder = builder.threads(threads);
    }
    let explainer = builder.build()?;
    let x = image(&explainer)?;
    let shape: Vec<Dim> = x
        .shape()
        .iter()
        .map(|&size| i64::try_from(size).map(Dim::Fixed))
        .collect::<Result<_, _>>()?;

    let input = gradcam::onnx_grad::inputs(&model)[0].name.clone();
    let graph = Graph::new(&model, &Sizes::from([(input.clone(), shape)]))?;
    let output = graph.outputs()[0];
    let mut options = EngineOptions::default();
    options.threads = args.threads;
    options.library = places;
    let plain = engine::engine(kind, &options)?.compile(&prune(&graph, &[output])?)?;

    let infer = || -> Result<Duration> {
        thread::sleep(PAUSE);
        let started = Instant::now();
        plain.run(&[(&input, TensorView::from(&x))], &[graph.name(output)])?;
        Ok(started.elapsed())
    };
    let explain = || -> Result<Duration> {
        thread::sleep(PAUSE);
        let started = Instant::now();
        explainer.explain_batch(x.view(), &[Target::Argmax])?;
        Ok(started.elapsed())
    };
    let first = explainer.explain_batch(x.view(), &[Target::Argmax])?;
    let differentiate = first.first().map(|e| e.timings.differentiate).unwrap_or_default();
    for _ in 0..3 {
        infer()?;
        explain()?;
    }
    let (mut plain_ms, mut explained_ms, mut ratios) = (vec![], vec![], vec![]);
    for pair in 0..args.pairs {
        // Who comes first alternates, so that neither always finds the other's caches.
        let (a, b) = if pair % 2 == 0 {
            let a = infer()?;
            (a, explain()?)
        } else {
            let b = explain()?;
            (infer()?, b)
        };
        plain_ms.push(a.as_secs_f64() * 1e3);
        explained_ms.push(b.as_secs_f64() * 1e3);
        ratios.push(b.as_secs_f64() / a.as_secs_f64());
    }
    let layers: Vec<_> = explainer.layers().map(|(layer, _)| layer.to_owned()).collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let ratio = quantile(&mut ratios, 0.5);
    println!(
        "{name}, {kind}, {}: {:.1}, {:.1}, {ratio:.3} [{:.3}, {:.3}]; {:.1}",
        layers.join(" "),
        quantile(&mut plain_ms, 0.5),
        quantile(&mut explained_ms, 0.5),
        quantile(&mut ratios, 0.25),
        quantile(&mut ratios, 0.75),
        differentiate.as_secs_f64() * 1e3,
    );
    Ok(ratio)
}

/// An input of the model's size with values in −1…1 from a formula. Axes that the model leaves open are those of a
/// photo, and one image is a batch.
fn image(explainer: &Explainer) -> Result<ArrayD<f32>> {
    let geometry = explainer.preprocessing().ok().map(|found| &found.preprocess.geometry);
    let (width, height) = geometry.and_then(|geometry| geometry.output()).unwrap_or((224, 224));
    let photo = [1, 3, i64::from(height), i64::from(width)];
    let inputs = onnx_grad::inputs(explainer.model());
    let size = |(axis, dim): (usize, &DeclaredDim)| match dim {
        DeclaredDim::Size(size) => *size,
        _ => photo.get(axis).copied().unwrap_or(1),
    };
    let dims =
        inputs.first().and_then(|input| input.dims.as_ref()).context("the model has no input")?;
    let sizes = dims.iter().enumerate().map(size).map(usize::try_from);
    let shape = sizes.collect::<Result<Vec<usize>, _>>()?;
    let last = shape.len().saturating_sub(1);
    Ok(ArrayD::from_shape_fn(shape, |at| {
        let step = (at[1] * 7 + at[last - 1] * 3 + at[last] * 5) % 17;
        f32::from(u8::try_from(step).unwrap_or(0)) / 8.0 - 1.0
    }))
}

/// The value below which that share of the numbers lies, with the nearest rank.
fn quantile(numbers: &mut [f64], share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let count = u32::try_from(numbers.len().saturating_sub(1)).unwrap_or(0);
    let rank = (f64::from(count) * share).round();
    (0u32..)
        .zip(numbers.iter())
        .find(|(place, _)| f64::from(*place) >= rank)
        .map_or(f64::NAN, |(_, n)| *n)
}
