//! `gradcam bench`: plain inference against explanation, with the user's model on the user's machine.

use std::{
    env,
    ffi::OsString,
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use gradcam::{
    Explainer, Method, Target, TargetSpec, engine::Provider, image::Overrides, measure,
    measure::Spread,
};
use serde_json::{Value, json};

use crate::{
    args::{BenchArgs, SignatureArgs},
    engine::{Asked, Choice},
    failure::{Failure, Result, failed},
    model,
    terminal::{self, Style},
};

/// Measures each engine, layer and method, in a process of its own: memory that one has used is not counted for the
/// next, and no engine's threads disturb another.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let engines = if args.engines.is_empty() { &[Asked::Auto][..] } else { &args.engines };
    let layers: Vec<Option<&str>> = match args.layers.as_slice() {
        [] => vec![None],
        layers => layers.iter().map(|layer| Some(layer.as_str())).collect(),
    };
    if let ([engine], [layer], [method]) = (engines, layers.as_slice(), args.methods.as_slice()) {
        let row = measured(args, *engine, *layer, *method)?;
        return say(args, &row, true);
    }
    let mut head = true;
    let mut all_done = true;
    for engine in engines {
        for (layer, method) in
            layers.iter().flat_map(|layer| args.methods.iter().map(move |method| (layer, method)))
        {
            match in_a_process(args, *engine, *layer, *method)? {
                Some(row) => {
                    say(args, &row, head)?;
                    head = false;
                }
                None => all_done = false,
            }
        }
    }
    if all_done { Ok(()) } else { Err(Failure::Said) }
}

/// Runs the same command for one engine, layer and method; none where it failed, which it has said.
fn in_a_process(
    args: &BenchArgs,
    engine: Asked,
    layer: Option<&str>,
    method: Method,
) -> Result<Option<Value>> {
    let mut words: Vec<OsString> = vec!["bench".into(), "--json".into()];
    words.extend([format!("--engine={engine}"), format!("--pairs={}", args.pairs)].map(Into::into));
    words.extend(layer.map(|layer| format!("--layer={layer}").into()));
    words.push(format!("--method={method}").into());
    words.extend(args.threads.map(|threads| format!("--threads={threads}").into()));
    words.extend(args.provider.map(|provider| format!("--provider={provider}").into()));
    words.extend(
        args.session_config
            .iter()
            .map(|(key, value)| format!("--session-config={key}={value}").into()),
    );
    words.extend(args.size.map(|(width, height)| format!("--size={width}x{height}").into()));
    let SignatureArgs { inputs, output_name } = &args.signature;
    for (name, path) in inputs {
        let mut word = OsString::from(format!("--input={name}="));
        word.push(path);
        words.push(word);
    }
    words.extend(output_name.iter().map(|name| format!("--output-name={name}").into()));
    words.extend(args.model.iter().flat_map(|path| ["--".into(), path.as_os_str().to_owned()]));
    let again = |error: io::Error| failed(format!("cannot run gradcam again: {error}"));
    let mut child = Command::new(env::current_exe().map_err(again)?);
    let output = child.args(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(again)?;
    match output.status.code() {
        Some(0) => serde_json::from_slice(&output.stdout).map(Some).map_err(failed),
        // A mistake on the command line is one for every row.
        Some(2) => Err(Failure::Usage("nothing was measured".to_owned())),
        Some(_) => Ok(None),
        None => Err(failed("the measurement was interrupted")),
    }
}

/// Measures one engine, layer and method, here.
fn measured(args: &BenchArgs, engine: Asked, layer: Option<&str>, method: Method) -> Result<Value> {
    let choice = Choice::new(engine, args.provider, &args.session_config, args.model.is_none())?;
    let started = Instant::now();
    let model = model::open(args.model.as_deref())?;
    let build = |compare: bool| -> Result<Explainer> {
        let builder = model::builder(model.clone(), &args.signature)?
            .layers(layer)
            .method(method)
            .compare_deployed(compare)
            .preprocess(Overrides { size: args.size, imagenet: true, ..Overrides::default() });
        Ok(choice.set(builder, args.threads).build()?)
    };
    let explainer = build(false)?;
    let load = started.elapsed();
    let x = explainer.example()?;
    let targets = [TargetSpec::One(Target::Argmax)];
    let first = explainer.explain_all(x.view(), &targets)?;
    // Before the model alone is there too.
    let peak = measure::peak_memory();
    let Some(explanation) = first.iter().flatten().next() else {
        return Err(failed("the engine gave no explanation"));
    };
    let post = (0..args.pairs.get()).map(|_| {
        let started = Instant::now();
        explanation.heatmap(0).map(|_| ms(started.elapsed()))
    });
    let post = Spread::of(post.collect::<gradcam::Result<_>>()?);
    let cost = explainer.cost(x.view(), &targets, args.pairs.get())?;
    // It takes further sessions, so it comes last.
    let mut compared = build(true)?.explain_all(x.view(), &targets)?.into_iter().flatten();
    let deployed = compared.next().and_then(|explanation| explanation.deployed);
    let quartiles = |spread: Spread| [spread.low, spread.high].map(rounded);
    let layers: Vec<&str> = explainer.layers().map(|(layer, _)| layer).collect();
    Ok(json!({
        "schema": 1,
        "model": model::name(args.model.as_deref()),
        "engine": explainer.engine_name(),
        "engine_why": choice.why,
        "provider": choice.provider.map(Provider::name),
        "threads": args.threads,
        "layer": layers.join(", "),
        "method": method.id(),
        "input": x.shape(),
        "pairs": args.pairs,
        "plain_ms": rounded(cost.plain.median),
        "plain_quartiles_ms": quartiles(cost.plain),
        "explain_ms": rounded(cost.explained.median),
        "explain_quartiles_ms": quartiles(cost.explained),
        "ratio": rounded(cost.ratio.median),
        "ratio_iqr": rounded(cost.ratio.iqr()),
        "ratio_quartiles": quartiles(cost.ratio),
        "load_ms": rounded(ms(load)),
        "differentiate_ms": rounded(ms(explanation.timings.differentiate)),
        "compile_ms": rounded(ms(explanation.timings.compile)),
        "first_run_ms": rounded(ms(explanation.timings.run)),
        "post_ms": rounded(post.median),
        "peak_mb": peak.map(|bytes| rounded(bytes as f64 / 1e6)),
        "deployed_error": deployed.map(|deployed| deployed.error),
    }))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// Prints a row, under the names of its columns where it is the first.
fn say(args: &BenchArgs, row: &Value, head: bool) -> Result<()> {
    if args.json {
        return terminal::print(format!("{row}\n"));
    }
    let style = Style::of(&io::stdout());
    let mut text = String::new();
    if head {
        let model = terminal::printable(row["model"].as_str().unwrap_or_default());
        text +=
            &format!("{}  {}\n", style.bold(model), style.dim(format!("{} pairs", row["pairs"])));
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
    let word = |key: &str| terminal::printable(row[key].as_str().unwrap_or_default());
    let number = |value: &Value, digits: usize| match value.as_f64() {
        Some(number) => format!("{number:.digits$}"),
        None => "-".to_owned(),
    };
    let quartiles = &row["ratio_quartiles"];
    text += &line(&[
        word("engine"),
        word("layer"),
        word("method"),
        number(&row["plain_ms"], 2),
        number(&row["explain_ms"], 2),
        number(&row["ratio"], 3),
        format!("{}-{}", number(&quartiles[0], 3), number(&quartiles[1], 3)),
        number(&row["load_ms"], 1),
        number(&row["differentiate_ms"], 1),
        number(&row["compile_ms"], 1),
        number(&row["first_run_ms"], 1),
        number(&row["post_ms"], 2),
        number(&row["peak_mb"], 0),
    ]);
    if let Some(error) = row["deployed_error"].as_f64() {
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
