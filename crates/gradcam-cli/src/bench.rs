//! `gradcam bench`: plain inference against explanation, with the user's model on the user's machine.

use std::{
    ffi::OsString,
    io,
    num::NonZeroUsize,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use gradcam::{Explainer, Method, Target, image::Overrides, measure, measure::Spread};
use serde::{Deserialize, Serialize};

use crate::{
    Host,
    args::BenchArgs,
    engine::{EngineChoice, EngineSetup},
    failure::{Failure, Result, failed},
    model,
    terminal::{self, Style},
};

/// A row of the table: one engine, one layer and one method.
#[derive(Clone, Copy, Debug)]
struct Combination<'a> {
    engine: EngineChoice,
    layer: Option<&'a str>,
    method: Method,
}

/// The measurement of a row.
#[derive(Debug, Serialize, Deserialize)]
struct Measurement {
    schema: u32,
    model: String,
    engine: String,
    engine_why: String,
    provider: Option<String>,
    threads: Option<NonZeroUsize>,
    layer: String,
    method: String,
    input: Vec<usize>,
    pairs: NonZeroUsize,
    plain_ms: f64,
    plain_quartiles_ms: [f64; 2],
    explain_ms: f64,
    explain_quartiles_ms: [f64; 2],
    ratio: f64,
    ratio_iqr: f64,
    ratio_quartiles: [f64; 2],
    load_ms: f64,
    differentiate_ms: f64,
    compile_ms: f64,
    first_run_ms: f64,
    post_ms: f64,
    peak_mb: Option<f64>,
    deployed_error: Option<f32>,
}

/// Measures each engine, layer and method in a process of its own, so that no row is charged for another row's memory or
/// disturbed by its threads.
pub(crate) fn run(args: &BenchArgs, words: &[OsString], host: &Host) -> Result<()> {
    let combinations = combinations(args);
    if let Some(row) = args.row {
        return match combinations.get(row) {
            Some(combination) => terminal::print(line_of(&measured(args, *combination, host)?)?),
            None => Err(Failure::Usage(format!("there is no row {row}"))),
        };
    }
    if let [combination] = combinations.as_slice() {
        return say(args, &measured(args, *combination, host)?, true);
    }
    let mut head = true;
    let mut all_done = true;
    for row in 0..combinations.len() {
        match in_a_process(row, words, host)? {
            Some(measurement) => {
                say(args, &measurement, head)?;
                head = false;
            }
            None => all_done = false,
        }
    }
    if all_done { Ok(()) } else { Err(Failure::Said) }
}

/// The rows of the table: for each engine and layer the methods.
fn combinations(args: &BenchArgs) -> Vec<Combination<'_>> {
    let engines = if args.engines.is_empty() { &[EngineChoice::Auto][..] } else { &args.engines };
    let layers: Vec<Option<&str>> = match args.layers.as_slice() {
        [] => vec![None],
        layers => layers.iter().map(|layer| Some(layer.as_str())).collect(),
    };
    let mut all = Vec::new();
    for engine in engines {
        for layer in &layers {
            let of_method =
                |method: &Method| Combination { engine: *engine, layer: *layer, method: *method };
            all.extend(args.methods.iter().map(of_method));
        }
    }
    all
}

/// Runs the same command, whose arguments are `words`, for one row. `None` where it failed and printed why.
fn in_a_process(row: usize, words: &[OsString], host: &Host) -> Result<Option<Measurement>> {
    let Some((program, first)) = host.command.split_first() else {
        return Err(failed(
            "several rows are measured in a process each, and this program does not say how it is started again; \
             measure one engine, layer and method",
        ));
    };
    let mut words = words.to_vec();
    // The row goes after the name of the command.
    let name = words.iter().position(|word| word == "bench").unwrap_or(0);
    words.insert(name + 1, format!("--row={row}").into());
    let mut child = Command::new(program);
    let output =
        child.args(first).args(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| failed(format!("cannot run gradcam again: {error}")))?;
    match output.status.code() {
        Some(0) => serde_json::from_slice(&output.stdout).map(Some).map_err(failed),
        // A mistake on the command line is the same for every row.
        Some(2) => Err(Failure::Usage("nothing was measured".to_owned())),
        Some(_) => Ok(None),
        None => Err(failed("the measurement was interrupted")),
    }
}

/// Measures one row, here.
fn measured(args: &BenchArgs, combination: Combination<'_>, host: &Host) -> Result<Measurement> {
    let Combination { engine, layer, method } = combination;
    let setup =
        EngineSetup::new(engine, args.provider, &args.session_config, args.model.is_none(), host)?;
    let started = Instant::now();
    let model = model::open(args.model.as_deref())?;
    let build = |compare: bool| -> Result<Explainer> {
        let builder = model::builder(model.clone(), &args.signature)?
            .layers(layer)
            .method(method)
            .compare_deployed(compare)
            .preprocess(Overrides { size: args.size, imagenet: true, ..Overrides::default() });
        Ok(setup.set(builder, args.threads).build()?)
    };
    let explainer = build(false)?;
    let load = started.elapsed();
    let x = explainer.example()?;
    let first = explainer.explain(&x, Target::Argmax)?;
    // Read before the model alone is compiled too.
    let peak = measure::peak_memory();
    let Some(explanation) = first.iter().flatten().next() else {
        return Err(failed("the engine gave no explanation"));
    };
    let post = (0..args.pairs.get()).map(|_| {
        let started = Instant::now();
        explanation.heatmap(0).map(|_| ms(started.elapsed()))
    });
    let post = Spread::of(post.collect::<gradcam::Result<_>>()?);
    let cost = explainer.cost(x.view(), Target::Argmax, args.pairs.get())?;
    // Last, because it needs further sessions.
    let mut compared = build(true)?.explain(&x, Target::Argmax)?.into_iter().flatten();
    let deployed = compared.next().and_then(|explanation| explanation.deployed);
    let quartiles = |spread: Spread| [spread.low, spread.high].map(rounded);
    let layers: Vec<&str> = explainer.layers().map(|(layer, _)| layer).collect();
    Ok(Measurement {
        schema: 1,
        model: model::name(args.model.as_deref()),
        engine: explainer.engine_name().to_owned(),
        engine_why: setup.why.to_owned(),
        provider: setup.provider.map(|provider| provider.name().to_owned()),
        threads: args.threads,
        layer: layers.join(", "),
        method: method.id().to_owned(),
        input: x.shape().to_vec(),
        pairs: args.pairs,
        plain_ms: rounded(cost.plain.median),
        plain_quartiles_ms: quartiles(cost.plain),
        explain_ms: rounded(cost.explained.median),
        explain_quartiles_ms: quartiles(cost.explained),
        ratio: rounded(cost.ratio.median),
        ratio_iqr: rounded(cost.ratio.iqr()),
        ratio_quartiles: quartiles(cost.ratio),
        load_ms: rounded(ms(load)),
        differentiate_ms: rounded(ms(explanation.timings.differentiate)),
        compile_ms: rounded(ms(explanation.timings.compile)),
        first_run_ms: rounded(ms(explanation.timings.run)),
        post_ms: rounded(post.median),
        peak_mb: peak.map(|bytes| rounded(bytes as f64 / 1e6)),
        deployed_error: deployed.map(|deployed| deployed.error),
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

fn line_of(measurement: &Measurement) -> Result<String> {
    Ok(serde_json::to_string(measurement).map_err(failed)? + "\n")
}

/// Prints a row, under the names of its columns where it is the first.
fn say(args: &BenchArgs, row: &Measurement, head: bool) -> Result<()> {
    if args.json {
        return terminal::print(line_of(row)?);
    }
    let style = Style::of(&io::stdout());
    let mut text = String::new();
    if head {
        let model = terminal::printable(&row.model);
        text += &format!("{}  {}\n", style.bold(model), style.dim(format!("{} pairs", row.pairs)));
        text += &style.dim(line(
            &[
                "engine",
                "layer",
                "method",
                "plain ms",
                "explain ms",
                "ratio",
                "quartiles",
                "load",
                "different.",
                "compile",
                "first run",
                "post",
                "peak MB",
            ]
            .map(str::to_owned),
        ));
    }
    let number = |number: f64, digits: usize| format!("{number:.digits$}");
    let [low, high] = row.ratio_quartiles;
    text += &line(&[
        terminal::printable(&row.engine),
        terminal::printable(&row.layer),
        terminal::printable(&row.method),
        number(row.plain_ms, 2),
        number(row.explain_ms, 2),
        number(row.ratio, 3),
        format!("{low:.3}-{high:.3}"),
        number(row.load_ms, 1),
        number(row.differentiate_ms, 1),
        number(row.compile_ms, 1),
        number(row.first_run_ms, 1),
        number(row.post_ms, 2),
        row.peak_mb.map_or_else(|| "-".to_owned(), |peak| number(peak, 0)),
    ]);
    if let Some(error) = row.deployed_error {
        let note = format!(
            "saturating-kernels: a program that runs this file in ONNX Runtime gets other scores on this processor, for \
             this input by up to {:.2} % of the largest; see docs/operators.md",
            error * 100.0
        );
        text += &format!("{}\n", style.yellow(note));
    }
    terminal::print(text)
}

/// A line of the table.
fn line(cells: &[String; 13]) -> String {
    let [engine, layer, method, numbers @ ..] = cells;
    let numbers: String = numbers.iter().map(|number| format!(" {number:>11}")).collect();
    format!("{engine:11} {layer:16} {method:16}{numbers}\n")
}
