//! `gradcam export`: a model that explains itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gradcam::{
    Explainer, ExportSettings, ExportTargets, ExportWeights, ExportedModel, Target,
    onnx_grad::{self, Dim},
};

use crate::{
    Host,
    args::{ExplainedArgs, ExportArgs},
    explain::target::vector,
    failure::{Failure, Result, failed},
    files, model, names, terminal,
};

/// Writes the model.
pub(crate) fn run(args: &ExportArgs, host: &Host) -> Result<()> {
    let output = args.output.as_path();
    check(output, read(&args.explained))?;
    host.begin_files();
    let nodes = model::open(args.explained.model.as_deref())?.graph().node.len();
    let (explainer, targets) = explained(&args.explained)?;
    let weights = if args.fp16 { ExportWeights::Half } else { ExportWeights::AsTheyAre };
    let exported = explainer.export(&ExportSettings { targets, heads: args.heads, weights })?;
    let bytes = write(&exported.model, output)?;
    if args.quiet {
        return Ok(());
    }
    if let Some(why) = &exported.fixed_batch {
        terminal::note(format!(
            "the model takes one image at a time: {}",
            terminal::printable(why)
        ));
    }
    terminal::print(summary(output, &exported, bytes, nodes))
}

/// An explainer of the model, and what the exported model explains.
pub(crate) fn explained(args: &ExplainedArgs) -> Result<(Explainer, ExportTargets)> {
    let mut builder = model::builder(model::open(args.model.as_deref())?, &args.signature)?
        .layers(&args.layers)
        .grid(args.tokens.grid())
        .fusion(args.fusion)
        .preprocess(args.overrides());
    if let Some(method) = args.method {
        builder = builder.method(method);
    }
    let explainer = builder.build()?;
    let targets = targets(args, &explainer)?;
    Ok((explainer, targets))
}

fn targets(args: &ExplainedArgs, explainer: &Explainer) -> Result<ExportTargets> {
    if let Some(path) = &args.similar_to {
        let target = Target::Similar(vector(path, explainer)?);
        return Ok(ExportTargets::Fixed(vec![target.into()]));
    }
    if !args.targets.iter().any(|text| text == "input") {
        let specs = args.targets.iter().map(|text| explainer.parse_target(text));
        return Ok(ExportTargets::Fixed(specs.collect::<gradcam::Result<_>>()?));
    }
    match args.targets.as_slice() {
        [_] => Ok(ExportTargets::Input),
        _ => Err(Failure::Usage(
            "--target input is the only target of a model; leave out the others".to_owned(),
        )),
    }
}

/// The files that are read.
pub(crate) fn read(args: &ExplainedArgs) -> impl Iterator<Item = &PathBuf> {
    let inputs = args.signature.inputs.iter().map(|(_, path)| path);
    args.model.iter().chain(inputs).chain(&args.labels).chain(&args.similar_to)
}

/// Refuses a file that no model can be written to, or that is `read`.
pub(crate) fn check<'a>(output: &Path, read: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    if names::is_dash(output) {
        return Err(Failure::Usage("a model is written to a file; name one with -o".to_owned()));
    }
    files::check(output)?;
    refuse_replaced(output, read)
}

/// Refuses to replace a file that is `read`.
pub(crate) fn refuse_replaced<'a>(
    output: &Path,
    read: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<()> {
    let Ok(written) = fs::canonicalize(output) else { return Ok(()) };
    let mut read = read.into_iter();
    match read.find(|path| fs::canonicalize(path).is_ok_and(|read| read == written)) {
        Some(path) => Err(failed(format!(
            "{} is read and would be replaced; name another file",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Writes the model, and gives the number of its bytes.
pub(crate) fn write(model: &gradcam::Model, output: &Path) -> Result<u64> {
    let bytes = match model.to_bytes() {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == onnx_grad::ErrorKind::TooLarge => {
            model.save(output)?;
            let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
            return Ok(size(output) + size(&onnx_grad::data_file(output)));
        }
        Err(error) => return Err(error.into()),
    };
    files::write(output, &bytes)?;
    Ok(bytes.len() as u64)
}

/// What was written: the file, the image that it takes, and the outputs of gradcam.
fn summary(output: &Path, exported: &ExportedModel, bytes: u64, nodes: usize) -> String {
    let metadata = |key: &str| {
        let found = exported.model.metadata().find(|(other, _)| *other == key);
        terminal::printable(found.map_or("", |(_, value)| value))
    };
    let about = format!(
        "{} at {}, target {}, images {}\n",
        metadata("gradcam.method"),
        metadata("gradcam.layer"),
        metadata("gradcam.target"),
        sizes(&exported.image_shape)
    );
    sizes_of_file(output, &exported.model, bytes, nodes) + &about + &values(&exported.outputs)
}

/// A line about a model that was written, which had so many `nodes` before.
pub(crate) fn sizes_of_file(
    output: &Path,
    model: &gradcam::Model,
    bytes: u64,
    nodes: usize,
) -> String {
    format!(
        "{}: {} nodes, {} before; {}\n",
        terminal::printable(&output.display().to_string()),
        model.graph().node.len(),
        nodes,
        if bytes < 1_000_000 {
            format!("{:.1} kB", bytes as f64 / 1e3)
        } else {
            format!("{:.1} MB", bytes as f64 / 1e6)
        }
    )
}

/// A line for each value: its name and its shape.
pub(crate) fn values(values: &[(String, Vec<Dim>)]) -> String {
    let names: Vec<String> = values.iter().map(|(name, _)| terminal::printable(name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, (_, shape)): (&String, &(String, Vec<Dim>))| {
        format!("{name:width$}  {}\n", sizes(shape))
    };
    names.iter().zip(values).map(line).collect()
}

/// A shape as it is printed.
pub(crate) fn sizes(shape: &[Dim]) -> String {
    let sizes: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
