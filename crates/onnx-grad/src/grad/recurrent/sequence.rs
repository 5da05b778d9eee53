//! A recurrent network in the order of its steps.
//!
//! Values have the axes [step, direction, batch, feature]. In step k, the reverse direction is at the k-th time from
//! the end, so both directions take one step together.

use super::activation::Activations;
use crate::{
    builder::Builder,
    error::{Error, ErrorKind, Result, bail},
    facts::Dim,
    grad::{RuleCall, definition::check_unrolled},
    graph::ValueId,
};

/// What distinguishes the operators.
pub(super) struct Cell {
    /// The default activations.
    activations: &'static [&'static str],
    /// The least number of nodes in a step.
    nodes: i64,
}

pub(super) const LSTM: Cell = Cell { activations: &["Sigmoid", "Tanh", "Tanh"], nodes: 11 };
pub(super) const GRU: Cell = Cell { activations: &["Sigmoid", "Tanh"], nodes: 10 };
pub(super) const RNN: Cell = Cell { activations: &["Tanh"], nodes: 3 };

/// The inputs of a recurrent network in the order of its steps.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) activations: Activations,
    pub(super) hidden_size: i64,
    pub(super) steps: i64,
    directions: i64,
    batch_first: bool,
    reversed: Vec<bool>,
}

/// The number of directions and their order in time.
fn directions(n: &RuleCall) -> Result<Vec<bool>> {
    Ok(match n.attrs().text("direction").unwrap_or("forward") {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => bail!(InvalidModel, "attribute direction is {other:?}"),
    })
}

impl Sequence {
    /// Reads the attributes that the operators share.
    pub(super) fn read(b: &Builder<'_>, n: &RuleCall, cell: &Cell) -> Result<Self> {
        n.attrs().ignore(&["hidden_size", "output_sequence"]);
        let reversed = directions(n)?;
        let batch_first = n.attrs().flag("layout");
        let steps = b.size(n.x(0)?, usize::from(batch_first))?;
        if steps < 1 {
            bail!(InvalidModel, "it has no steps");
        }
        check_unrolled(steps, cell.nodes)?;
        if let Some(lengths) = n.optional(4) {
            let full = |lengths: Vec<i64>| lengths.iter().all(|&length| length == steps);
            if !b.fact(lengths).ints().is_some_and(full) {
                bail!(
                    Unsupported,
                    "its sequence_lens are not all {steps}, the number of its steps; supported: full length"
                );
            }
        }
        Ok(Self {
            activations: Activations::read(n.attrs(), reversed.len(), cell.activations)?,
            hidden_size: b.size(n.x(2)?, 2)?,
            steps,
            directions: crate::builder::index(reversed.len())?,
            batch_first,
            reversed,
        })
    }

    /// x·Wᵀ for all steps in one product, [T, D, N, G·H].
    pub(super) fn projected(&self, b: &mut Builder<'_>, n: &RuleCall) -> Result<ValueId> {
        let (x, w) = (self.time_first(b, n.x(0)?)?, self.joined(b, n.x(1)?)?);
        let w = b.transpose(w, &[1, 0])?;
        let product = b.matmul(x, w)?;
        let mut shape = b.shape(x)?;
        shape.splice(2.., [Dim::Fixed(self.directions), Dim::Fixed(self.width(b, n)?)]);
        let product = b.reshape(product, &shape)?;
        let product = b.transpose(product, &[0, 2, 1, 3])?;
        self.aligned(b, product)
    }

    /// x·Wᵀ and both biases for all steps.
    pub(super) fn summed(&self, b: &mut Builder<'_>, n: &RuleCall) -> Result<ValueId> {
        let inputs = self.projected(b, n)?;
        match self.biases(b, n)? {
            Some((first, second)) => {
                let bias = b.add(first, second)?;
                b.add(inputs, bias)
            }
            None => Ok(inputs),
        }
    }

    /// The gradient of x from that of [`Sequence::projected`].
    pub(super) fn unprojected(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
        g: ValueId,
    ) -> Result<ValueId> {
        let g = self.aligned(b, g)?;
        let g = b.transpose(g, &[0, 2, 1, 3])?;
        let mut shape = b.shape(g)?;
        shape.splice(2.., [Dim::Fixed(self.directions * self.width(b, n)?)]);
        let g = b.reshape(g, &shape)?;
        let w = self.joined(b, n.x(1)?)?;
        let x = b.matmul(g, w)?;
        self.time_first(b, x)
    }

    /// W [D, G·H, I] as [D·G·H, I].
    fn joined(&self, b: &mut Builder<'_>, w: ValueId) -> Result<ValueId> {
        let (rows, columns) = (b.size(w, 1)?, b.size(w, 2)?);
        b.reshape(w, &[Dim::Fixed(self.directions * rows), Dim::Fixed(columns)])
    }

    /// G·H, the number of gates times the hidden size.
    fn width(&self, b: &Builder<'_>, n: &RuleCall) -> Result<i64> {
        b.size(n.x(2)?, 1)
    }

    /// Exchanges the first two axes of a value of three axes whose first is the batch, and back.
    pub(super) fn time_first(&self, b: &mut Builder<'_>, x: ValueId) -> Result<ValueId> {
        if self.batch_first { b.transpose(x, &[1, 0, 2]) } else { Ok(x) }
    }

    /// Reverses the time of reverse directions, in [T, D, N, …].
    fn aligned(&self, b: &mut Builder<'_>, x: ValueId) -> Result<ValueId> {
        let mut parts = b.split(x, 1, self.reversed.len())?;
        for (part, _) in parts.iter_mut().zip(&self.reversed).filter(|(_, reversed)| **reversed) {
            *part = b.reverse(*part, 0)?;
        }
        b.concat(&parts, 1)
    }

    /// Rᵀ, [D, H, G·H].
    pub(super) fn recurrent(&self, b: &mut Builder<'_>, n: &RuleCall) -> Result<ValueId> {
        b.transpose(n.x(2)?, &[0, 2, 1])
    }

    /// The biases of x·Wᵀ and of h·Rᵀ, [D, 1, G·H] each; `None` without biases.
    pub(super) fn biases(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
    ) -> Result<Option<(ValueId, ValueId)>> {
        let Some(both) = n.optional(3) else { return Ok(None) };
        let width = self.width(b, n)?;
        let both = b.reshape(both, &[self.directions, 1, 2 * width].map(Dim::Fixed))?;
        let [first, second] = b.split(both, 2, 2)?[..] else {
            bail!(InvalidModel, "its biases are not two");
        };
        Ok(Some((first, second)))
    }

    /// The state before the first step, [1, D, N, H]: an input, or zeros. `like` is [T, D, N, G·H].
    pub(super) fn initial(
        &self,
        b: &mut Builder<'_>,
        n: &RuleCall,
        input: usize,
        like: ValueId,
    ) -> Result<ValueId> {
        let mut shape = b.shape(like)?;
        (shape[0], shape[3]) = (Dim::Fixed(1), Dim::Fixed(self.hidden_size));
        if let Some(state) = n.optional(input) {
            let state = self.time_first(b, state)?;
            return b.reshape(state, &shape);
        }
        let first = b.slice(like, 0, 0, 1, 1)?;
        let first = b.slice(first, 3, 0, self.hidden_size, 1)?;
        let zero = b.scalar(like, 0.0)?;
        b.expand_like(zero, first)
    }

    /// A state or its gradient, [1, D, N, H], in the form of the node's inputs and outputs, [D, N, H] or [N, D, H].
    pub(super) fn state(&self, b: &mut Builder<'_>, state: ValueId) -> Result<ValueId> {
        let shape = b.shape(state)?;
        let state = b.reshape(state, &shape[1..])?;
        self.time_first(b, state)
    }

    /// The states of all steps, [T, D, N, H], in the form of the output Y.
    pub(super) fn all_states(&self, b: &mut Builder<'_>, states: ValueId) -> Result<ValueId> {
        let states = self.aligned(b, states)?;
        if self.batch_first { b.transpose(states, &[2, 0, 1, 3]) } else { Ok(states) }
    }

    /// The inverse of [`Sequence::all_states`].
    pub(super) fn of_all_states(&self, b: &mut Builder<'_>, y: ValueId) -> Result<ValueId> {
        let y = if self.batch_first { b.transpose(y, &[1, 2, 0, 3])? } else { y };
        self.aligned(b, y)
    }

    /// Calls `step` with the input of each step, [1, D, N, G·H], and the state before it; returns the states after
    /// each step.
    pub(super) fn unroll(
        &self,
        b: &mut Builder<'_>,
        inputs: ValueId,
        first: ValueId,
        mut step: impl FnMut(&mut Builder<'_>, ValueId, ValueId) -> Result<ValueId>,
    ) -> Result<Vec<ValueId>> {
        let mut state = first;
        let mut states = Vec::new();
        for x in self.each_step(b, inputs)? {
            state = step(b, x, state)?;
            states.push(state);
        }
        Ok(states)
    }

    /// The parts of a value for each step.
    pub(super) fn each_step(&self, b: &mut Builder<'_>, value: ValueId) -> Result<Vec<ValueId>> {
        b.split(value, 0, self.each()?)
    }

    /// The number of steps.
    pub(super) fn each(&self) -> Result<usize> {
        let too_large = |e| Error::new(ErrorKind::TooLarge, "a number of steps").because(e);
        usize::try_from(self.steps).map_err(too_large)
    }

    /// The outputs Y and Y_h.
    pub(super) fn outputs(&self, b: &mut Builder<'_>, states: &[ValueId]) -> Result<Vec<ValueId>> {
        let Some(&last) = states.last() else { bail!(InvalidModel, "it has no steps") };
        let all = b.concat(states, 0)?;
        Ok(vec![self.all_states(b, all)?, self.state(b, last)?])
    }

    /// v·m for all steps in one product per direction: v [T, D, N, A], m [D, A, B].
    pub(super) fn times(&self, b: &mut Builder<'_>, v: ValueId, m: ValueId) -> Result<ValueId> {
        let v = b.transpose(v, &[1, 0, 2, 3])?;
        let mut shape = b.shape(v)?;
        let Some(rows) = shape[1].times(shape[2]) else {
            bail!(Shape, "its steps are not a number");
        };
        let v = b.reshape(v, &[shape[0], rows, shape[3]])?;
        let product = b.matmul(v, m)?;
        shape[3] = Dim::Fixed(b.size(m, 2)?);
        let product = b.reshape(product, &shape)?;
        b.transpose(product, &[1, 0, 2, 3])
    }
}
