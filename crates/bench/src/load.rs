//! Opening a model for an explanation (read, differentiate, compile, weights included) over the engine's
//! own load of the plain file: time and peak memory, each in a process of its own.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use gradcam::{
    Target,
    engine::{self, EngineKind},
    measure::{Spread, peak_memory},
};

/// How a child process loads the model: `gradcam` or the engine by itself. `cargo xtask counts` asks for `open`
/// too: `gradcam` without differentiating and compiling.
const HOW: [&str; 2] = ["gradcam", "engine"];

/// Runs both ways `times` times in turn, and prints medians and their ratios.
pub(crate) fn compare(
    path: &Path,
    kind: EngineKind,
    layer: Option<&str>,
    times: usize,
) -> Result<()> {
    let mut figures = [vec![], vec![]];
    for _ in 0..times {
        for (how, figures) in HOW.iter().zip(&mut figures) {
            figures.push(child(path, kind, layer, how)?);
        }
    }
    let [ours, own] = figures.map(|figures| {
        let column = |at: usize| -> f64 {
            Spread::of(figures.iter().map(|figure: &[f64; 2]| figure[at]).collect()).median
        };
        [column(0), column(1)]
    });
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    println!(
        "{name}, {kind}, {}: {:.0} ms and {:.0} MB for an explanation, {:.0} ms and {:.0} MB for the engine's own \
         load, ratios {:.2} and {:.2}",
        layer.unwrap_or("last stage"),
        ours[0],
        ours[1],
        own[0],
        own[1],
        ours[0] / own[0],
        ours[1] / own[1]
    );
    Ok(())
}

fn child(path: &Path, kind: EngineKind, layer: Option<&str>, how: &str) -> Result<[f64; 2]> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--load-child", how, "--engine", kind.name()]).arg(path);
    command.args(layer.iter().flat_map(|layer| ["--layer", layer]));
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().ok().context("a child printed no two numbers")
}

/// Loads in this process, and prints milliseconds and the peak of resident memory in megabytes. The
/// library of ONNX Runtime is loaded before the clock starts.
pub(crate) fn here(path: &Path, kind: EngineKind, layer: Option<&str>, how: &str) -> Result<()> {
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_default();
    let ort = match (how, kind) {
        ("engine", EngineKind::OnnxRuntime) => {
            Some(ort::init_from(&library)?.with_telemetry(false).build()?)
        }
        _ => None,
    };
    if how == "gradcam" && kind == EngineKind::OnnxRuntime {
        let mut options = engine::EngineOptions::default();
        options.library = engine::library_places(Some(&library), &[]);
        drop(engine::engine(kind, &options)?);
    }
    let started = Instant::now();
    let mut kept: Vec<Box<dyn std::any::Any>> = Vec::new();
    match (how, kind, ort) {
        ("gradcam" | "open", ..) => {
            let explainer = crate::builder(path, kind, layer.as_slice(), None, None)?.build()?;
            let example = explainer.example()?;
            if how == "gradcam" {
                explainer.warm_up(example.shape(), Target::Argmax)?;
            }
            kept.push(Box::new(explainer));
        }
        (_, EngineKind::OnnxRuntime, Some(environment)) => {
            let level = ort::session::builder::GraphOptimizationLevel::All;
            let mut builder = ort::session::Session::builder(&environment)?
                .with_optimization_level(level)
                .map_err(|e| anyhow::anyhow!("{e}"))?;
            kept.push(Box::new(builder.commit_from_file(path)?));
        }
        (_, EngineKind::Rten, _) => kept.push(Box::new(rten::Model::load_file(path)?)),
        _ => bail!("no engine {kind}"),
    }
    let time = started.elapsed();
    let bytes = peak_memory().context("the system does not say the peak of memory")?;
    let megabytes = bytes as f64 / f64::from(1 << 20);
    println!("{} {megabytes}", time.as_secs_f64() * 1e3);
    Ok(())
}
