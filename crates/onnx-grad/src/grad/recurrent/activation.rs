//! The activations of recurrent networks.

use crate::{
    attrs::{self, AttributeReader},
    builder::Builder,
    error::{Result, bail},
    graph::ValueId,
};

/// An activation with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Activation {
    function: Function,
    alpha: f64,
    beta: f64,
}

/// The emitter of an activation with its α and β.
type Emit = fn(&mut Builder<'_>, ValueId, f64, f64) -> Result<ValueId>;

/// An activation function: its name, the default α and β if it has them, and its formula.
#[derive(Clone, Copy, Debug)]
struct Function {
    name: &'static str,
    alpha: Option<f64>,
    beta: Option<f64>,
    emit: Emit,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const fn function(
    name: &'static str,
    alpha: Option<f64>,
    beta: Option<f64>,
    emit: Emit,
) -> Function {
    Function { name, alpha, beta, emit }
}

/// The functions of the standard. The defaults are those of the operator of that name and, where there is none, of
/// ONNX Runtime.
const FUNCTIONS: &[Function] = &[
    function("Affine", Some(1.0), Some(0.0), |b, x, alpha, beta| {
        let scaled = b.scale(x, alpha)?;
        let beta = b.scalar(x, beta)?;
        b.add(scaled, beta)
    }),
    function("Elu", Some(1.0), None, |b, x, alpha, _| with_alpha(b, "Elu", x, alpha)),
    function("HardSigmoid", Some(0.2), Some(0.5), |b, x, alpha, beta| {
        b.raw("HardSigmoid", &[x], vec![single("alpha", alpha), single("beta", beta)])
    }),
    function("LeakyRelu", Some(0.01), None, |b, x, alpha, _| with_alpha(b, "LeakyRelu", x, alpha)),
    function("Relu", None, None, |b, x, _, _| b.relu(x)),
    function("ScaledTanh", Some(1.0), Some(1.0), |b, x, alpha, beta| {
        let inside = b.scale(x, beta)?;
        let tanh = b.tanh(inside)?;
        b.scale(tanh, alpha)
    }),
    function("Sigmoid", None, None, |b, x, _, _| b.raw("Sigmoid", &[x], vec![])),
    function("Softplus", None, None, |b, x, _, _| b.raw("Softplus", &[x], vec![])),
    function("Softsign", None, None, |b, x, _, _| b.raw("Softsign", &[x], vec![])),
    function("Tanh", None, None, |b, x, _, _| b.tanh(x)),
    function("ThresholdedRelu", Some(1.0), None, |b, x, alpha, _| {
        let mask = b.above(x, alpha)?;
        b.mul(x, mask)
    }),
];

fn with_alpha(b: &mut Builder<'_>, op: &'static str, x: ValueId, alpha: f64) -> Result<ValueId> {
    b.raw(op, &[x], vec![single("alpha", alpha)])
}

#[expect(clippy::cast_possible_truncation, reason = "the attribute is a 32-bit float")]
fn single(name: &str, number: f64) -> crate::proto::AttributeProto {
    attrs::float(name, number as f32)
}

/// The activations of each direction, and the bound of their inputs.
#[derive(Debug)]
pub(super) struct Activations {
    directions: Vec<Vec<Activation>>,
    clip: Option<f64>,
}

impl Activations {
    /// Reads the attributes; `defaults` are the names for one direction.
    pub(super) fn read(
        attrs: &AttributeReader,
        directions: usize,
        defaults: &[&str],
    ) -> Result<Self> {
        let given = attrs.texts("activations");
        let names: Vec<&str> = match given.as_slice() {
            [] => defaults.repeat(directions),
            names => names.to_vec(),
        };
        if names.len() != defaults.len() * directions {
            bail!(
                InvalidModel,
                "it has {} activations for {directions} directions of {}",
                names.len(),
                defaults.len()
            );
        }
        // Functions without a parameter take none of the list.
        let mut alphas = attrs.floats("activation_alpha").iter().copied().map(f64::from);
        let mut betas = attrs.floats("activation_beta").iter().copied().map(f64::from);
        let mut all = Vec::new();
        for name in names {
            let known = FUNCTIONS.iter().find(|row| row.name.eq_ignore_ascii_case(name));
            let Some(&function) = known else {
                bail!(InvalidModel, "it has an activation \"{name}\", which does not exist");
            };
            let next = |default: Option<f64>, list: &mut dyn Iterator<Item = f64>| {
                default.map(|default| list.next().unwrap_or(default)).unwrap_or_default()
            };
            let alpha = next(function.alpha, &mut alphas);
            let beta = next(function.beta, &mut betas);
            all.push(Activation { function, alpha, beta });
        }
        let directions = all.chunks(defaults.len()).map(<[Activation]>::to_vec).collect();
        let clip = attrs.float("clip").filter(|&bound| bound > 0.0);
        Ok(Self { directions, clip })
    }

    /// Applies the activation `which` to a value of shape [T, D, N, …], whose elements it bounds first if `bounded`.
    pub(super) fn apply(
        &self,
        b: &mut Builder<'_>,
        which: usize,
        x: ValueId,
        bounded: bool,
    ) -> Result<ValueId> {
        let x = match self.clip.filter(|_| bounded) {
            Some(bound) => b.clip(x, -bound, bound)?,
            None => x,
        };
        let each: Vec<Activation> = self.directions.iter().map(|list| list[which]).collect();
        let emit = |b: &mut Builder<'_>, x, one: &Activation| {
            (one.function.emit)(b, x, one.alpha, one.beta)
        };
        if each.iter().all(|one| *one == each[0]) {
            return emit(b, x, &each[0]);
        }
        let parts = b.split(x, 1, each.len())?;
        let parts = parts.into_iter().zip(&each).map(|(x, one)| emit(b, x, one));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        b.concat(&parts, 1)
    }
}
