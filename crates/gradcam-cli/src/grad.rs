//! `gradcam grad`: a model with the gradient of any value as further outputs.

use gradcam::{GradientSettings, with_gradients};

use crate::{Host, args::GradArgs, export, failure::Result, model, terminal};

/// Writes the model.
pub(crate) fn run(args: &GradArgs, host: &Host) -> Result<()> {
    let output = args.output.as_path();
    export::check(output, &args.model)?;
    host.begin_files();
    let opened = model::open(args.model.as_deref())?;
    let settings = GradientSettings {
        of: args.of.clone(),
        wrt: args.wrt.clone(),
        seed: args.seed.clone(),
        sizes: args.shapes.iter().cloned().collect(),
    };
    let made = with_gradients(&opened, &settings)?;
    let bytes = export::write(&made.model, output)?;
    if args.quiet {
        return Ok(());
    }
    let file = export::sizes_of_file(output, &made.model, bytes, opened.graph().node.len());
    let (name, shape) = &made.of;
    let weight = match &args.seed {
        Some(seed) => format!("times the input {}", terminal::printable(seed)),
        None => "summed".to_owned(),
    };
    let (name, shape) = (terminal::printable(name), export::sizes(shape));
    let about = format!("gradient of {name} {shape}, {weight}\n");
    terminal::print(file + &about + &export::values(&made.outputs))
}
