//! Models with the gradient of any value as further outputs.

use onnx_grad::{
    Dim, Options, append, gradient_values,
    graph::{Graph, Sizes, ValueId},
};

use crate::{
    Model, Result,
    error::{Error, bail},
    hint::Hint,
    layer::{Grid, Layers, ScoreValue},
};

/// The most inputs or outputs that a message lists.
const MOST_NAMES: usize = 4;

/// What is differentiated, and with respect to what. Values are named by themselves, by a node that makes them, or as a
/// layer; weights are values too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GradientSettings {
    /// The value that is differentiated: the sum of its elements, or their product with the seed.
    pub of: String,
    /// The values with respect to which it is differentiated.
    pub wrt: Vec<String>,
    /// The name of a new input in the type and shape of `of`, for a vector–Jacobian product.
    pub seed: Option<String>,
    /// Sizes of inputs that the model leaves open, by name; `N` may be [`Dim::Batch`] of 1.
    pub sizes: Sizes,
}

/// A model with gradients, and what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GradientModel {
    /// The model.
    pub model: Model,
    /// The name of the value that is differentiated, and its shape.
    pub of: (String, Vec<Dim>),
    /// The names and the shapes of the gradients, in the order of [`GradientSettings::wrt`].
    pub outputs: Vec<(String, Vec<Dim>)>,
}

/// Appends gradients to a model. Its own outputs stay as they are and come first; behind them each value of `wrt` has an
/// output `<its name in wrt>.grad`, in its type and shape. The metadata say what each is.
///
/// # Errors
/// `Layer` for a value that is not there or that does not reach `of`, `Unsupported` with every node of the path that has no
/// gradient rule, `Model` for a size that is open and has to be known, and for a seed whose name is taken.
pub fn with_gradients(model: &Model, settings: &GradientSettings) -> Result<GradientModel> {
    let mut graph = Graph::new(model, &settings.sizes).map_err(explained)?;
    let of = find(&graph, &settings.of)?;
    let wrt = settings.wrt.iter().map(|name| find(&graph, name)).collect::<Result<Vec<_>>>()?;
    for (at, value) in wrt.iter().enumerate() {
        if let Some(before) = wrt[..at].iter().position(|other| other == value) {
            let (first, second) = (&settings.wrt[before], &settings.wrt[at]);
            bail!(Layer, "\"{first}\" and \"{second}\" are the same value; name it once");
        }
    }
    let options = Options { seed_input: settings.seed.clone(), ..Options::default() };
    let gradients = gradient_values(&mut graph, of, &wrt, &options).map_err(explained)?;
    let mut values = Vec::with_capacity(gradients.len());
    for (gradient, name) in gradients.into_iter().zip(&settings.wrt) {
        let mut name = format!("{name}.grad");
        while graph.find(&name).is_some() {
            name.push_str(".grad");
        }
        values.push(graph.alias(gradient, &name)?);
    }
    let shape = |value: ValueId| graph.fact(value).shape.clone().unwrap_or_default();
    let named = |value: ValueId| (graph.name(value).to_owned(), shape(value));
    let outputs: Vec<_> = values.iter().map(|value| named(*value)).collect();
    let weight = match &settings.seed {
        Some(seed) => format!("times the input \"{seed}\""),
        None => "summed".to_owned(),
    };
    let about = wrt.iter().map(|value| {
        let (of, wrt) = (graph.name(of), graph.name(*value));
        format!("the gradient of \"{of}\", {weight}, with respect to \"{wrt}\"")
    });
    let keys: Vec<String> =
        outputs.iter().map(|(name, _)| format!("gradcam.gradient.{name}")).collect();
    let appended = append(&graph, model, &values)?;
    Ok(GradientModel {
        model: appended.with_metadata(keys.iter().map(String::as_str).zip(about)),
        of: named(of),
        outputs,
    })
}

/// A value by its name, or as a layer.
fn find(graph: &Graph, name: &str) -> Result<ValueId> {
    if let Some(value) = graph.find(name) {
        return Ok(value);
    }
    let Some(output) = graph.outputs().first() else { bail!(Model, "the model has no output") };
    let layers = Layers::new(graph, None, ScoreValue::plain(*output), Grid::default());
    layers.find(graph, name).map_err(|error| {
        let names = |values: &[ValueId]| -> String {
            let shown = values.iter().take(MOST_NAMES).map(|value| graph.name(*value));
            let more = if values.len() > MOST_NAMES { ", …" } else { "" };
            shown.collect::<Vec<_>>().join(", ") + more
        };
        let (inputs, outputs) = (names(graph.inputs()), names(graph.outputs()));
        error.adding(&format!("the model has the inputs {inputs} and the outputs {outputs}"))
    })
}

/// Says what to do about a size that is open, and about a value that does not matter.
fn explained(error: onnx_grad::Error) -> Error {
    let kind = error.kind();
    let error = Error::from(error);
    match kind {
        onnx_grad::ErrorKind::Shape => error.hinting(Hint::GiveSizes),
        onnx_grad::ErrorKind::NotConnected => {
            error.adding("its gradient is zero; name a value that the target is computed from")
        }
        _ => error,
    }
}
