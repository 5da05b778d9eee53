//! Formulas in mathematical notation, emitted on demand.
//!
//! An operator on terms records an operation; [`Term::emit`] appends the nodes. A shared term or number is emitted
//! once. Terms that are not emitted cost nothing, so a rule states the derivative of every input, and the driver
//! emits the required ones.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fmt,
    ops::{Add, Div, Mul, Neg, Sub},
    ptr,
    rc::Rc,
};

use super::Builder;
use crate::{
    attrs,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

type TermEmitter = dyn Fn(&Formulas, &mut Builder<'_>, &[ValueId]) -> Result<ValueId>;

/// The terms of a formula and the functions that emit them.
#[derive(Default)]
pub(crate) struct Formulas {
    terms: RefCell<Vec<TermState>>,
    /// By element type and bit pattern.
    numbers: RefCell<HashMap<(DataType, u64), ValueId>>,
}

#[derive(Clone)]
enum TermState {
    Emitted(ValueId),
    /// The indices of its operands, and the function that emits it from their values.
    Open(Vec<usize>, Rc<TermEmitter>),
}

/// A value of the graph, or one that is not emitted yet. A number in a formula takes the element type of the other
/// operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'f> {
    formulas: &'f Formulas,
    place: usize,
}

impl Formulas {
    /// A value of the graph.
    pub(crate) fn value(&self, value: ValueId) -> Term<'_> {
        self.push(TermState::Emitted(value))
    }

    /// The term that a function emits from the values of other terms.
    pub(crate) fn open<const N: usize>(
        &self,
        from: [Term<'_>; N],
        emit: impl Fn(&Self, &mut Builder<'_>, [ValueId; N]) -> Result<ValueId> + 'static,
    ) -> Term<'_> {
        let ours = from.iter().all(|term| ptr::eq(term.formulas, self));
        let emit = move |formulas: &Self, b: &mut Builder<'_>, values: &[ValueId]| match values
            .try_into()
        {
            Ok(values) if ours => emit(formulas, b, values),
            _ => foreign(),
        };
        self.push(TermState::Open(from.map(|term| term.place).to_vec(), Rc::new(emit)))
    }

    fn push(&self, entry: TermState) -> Term<'_> {
        let mut terms = self.terms.borrow_mut();
        terms.push(entry);
        Term { formulas: self, place: terms.len() - 1 }
    }

    fn number(&self, b: &mut Builder<'_>, like: ValueId, number: f64) -> Result<ValueId> {
        let key = (b.elem(like), number.to_bits());
        let known = self.numbers.borrow().get(&key).copied();
        let value = known.map_or_else(|| b.scalar(like, number), Ok)?;
        self.numbers.borrow_mut().insert(key, value);
        Ok(value)
    }

    /// Emits nodes in the order in which their terms were written.
    fn emit(&self, b: &mut Builder<'_>, place: usize) -> Result<ValueId> {
        let mut needed = BTreeSet::new();
        let mut left = vec![place];
        while let Some(place) = left.pop() {
            if let Some(TermState::Open(from, _)) = self.terms.borrow().get(place)
                && needed.insert(place)
            {
                left.extend(from);
            }
        }
        for place in needed {
            let entry = self.terms.borrow().get(place).cloned();
            if let Some(TermState::Open(from, emit)) = entry {
                let values = from.iter().map(|&from| self.emitted(from));
                let value = emit(self, b, &values.collect::<Result<Vec<_>>>()?)?;
                self.terms.borrow_mut()[place] = TermState::Emitted(value);
            }
        }
        self.emitted(place)
    }

    fn emitted(&self, place: usize) -> Result<ValueId> {
        match self.terms.borrow().get(place) {
            Some(TermState::Emitted(value)) => Ok(*value),
            _ => foreign(),
        }
    }
}

fn foreign<T>() -> Result<T> {
    bail!(InvalidModel, "a term of other formulas")
}

impl fmt::Debug for Formulas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formulas").field("terms", &self.terms.borrow().len()).finish()
    }
}

impl<'f> Term<'f> {
    /// Appends the nodes that compute the term, if they do not exist yet.
    ///
    /// # Errors
    /// Those of the builder's methods in its formula.
    pub(crate) fn emit(self, b: &mut Builder<'_>) -> Result<ValueId> {
        self.formulas.emit(b, self.place)
    }

    /// The term that a function emits from this one.
    pub(crate) fn then(
        self,
        emit: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId> + 'static,
    ) -> Self {
        self.formulas.open([self], move |_, b, [a]| emit(b, a))
    }

    fn with(
        self,
        other: Self,
        emit: impl Fn(&mut Builder<'_>, ValueId, ValueId) -> Result<ValueId> + 'static,
    ) -> Self {
        self.formulas.open([self, other], move |_, b, [left, right]| emit(b, left, right))
    }

    fn with_number(
        self,
        number: f64,
        emit: impl Fn(&mut Builder<'_>, ValueId, ValueId) -> Result<ValueId> + 'static,
    ) -> Self {
        self.formulas.open([self], move |formulas, b, [a]| {
            let number = formulas.number(b, a, number)?;
            emit(b, a, number)
        })
    }

    /// An operator with one input and no attributes, such as `Cosh`.
    pub(crate) fn apply(self, op: &'static str) -> Self {
        self.then(move |b, a| b.raw(op, &[a], vec![]))
    }

    /// e to the power of the term.
    pub(crate) fn exp(self) -> Self {
        self.then(|b, a| b.exp(a))
    }

    /// Natural logarithm.
    pub(crate) fn log(self) -> Self {
        self.then(|b, a| b.log(a))
    }

    /// Square root.
    pub(crate) fn sqrt(self) -> Self {
        self.then(|b, a| b.sqrt(a))
    }

    /// The square.
    pub(crate) fn square(self) -> Self {
        self * self
    }

    /// The power with another term as exponent; both have one type.
    pub(crate) fn pow(self, exponent: Self) -> Self {
        self.with(exponent, |b, a, p| b.pow(a, p))
    }

    /// Hyperbolic tangent.
    pub(crate) fn tanh(self) -> Self {
        self.then(|b, a| b.tanh(a))
    }

    /// `max(·, 0)`.
    pub(crate) fn relu(self) -> Self {
        self.then(|b, a| b.relu(a))
    }

    /// The sign: −1, 0 or 1.
    pub(crate) fn sign(self) -> Self {
        self.then(|b, a| b.sign(a))
    }

    /// An operator with one input and one float attribute.
    pub(crate) fn apply_with(self, op: &'static str, name: &'static str, number: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the attribute is a 32-bit float")]
        self.then(move |b, a| b.raw(op, &[a], vec![attrs::float(name, number as f32)]))
    }

    /// Converts to another element type.
    pub(crate) fn cast(self, elem: DataType) -> Self {
        self.then(move |b, a| b.cast(a, elem))
    }

    /// Converts to the element type of another term.
    pub(crate) fn cast_like(self, like: Self) -> Self {
        self.with(like, |b, a, like| b.cast(a, b.elem(like)))
    }

    /// A number in the term's element type, as a separate term.
    pub(crate) fn constant(self, number: f64) -> Self {
        self.with_number(number, |_, _, number| Ok(number))
    }

    /// The larger of two terms, element by element.
    pub(crate) fn maximum(self, other: Self) -> Self {
        self.with(other, |b, a, other| b.maximum(a, other))
    }

    /// `[· > number]` as 0 and 1.
    pub(crate) fn above(self, number: f64) -> Self {
        self.with_number(number, |b, a, number| b.greater(a, number))
    }

    /// `[· < number]` as 0 and 1.
    pub(crate) fn below(self, number: f64) -> Self {
        self.with_number(number, |b, a, number| b.less(a, number))
    }

    /// The condition `· > number`.
    pub(crate) fn is_above(self, number: f64) -> Self {
        self.with_number(number, |b, a, number| b.binary("Greater", a, number))
    }

    /// The condition `· < number`.
    pub(crate) fn is_below(self, number: f64) -> Self {
        self.with_number(number, |b, a, number| b.binary("Less", a, number))
    }

    /// `[· > other]` as 0 and 1.
    pub(crate) fn greater(self, other: Self) -> Self {
        self.with(other, |b, a, other| b.greater(a, other))
    }

    /// `[· < other]` as 0 and 1.
    pub(crate) fn less(self, other: Self) -> Self {
        self.with(other, |b, a, other| b.less(a, other))
    }

    /// `[low < ·]·[· < high]` as 0 and 1.
    pub(crate) fn between(self, low: Self, high: Self) -> Self {
        self.formulas.open([self, low, high], |_, b, [a, low, high]| b.between(a, low, high))
    }

    /// `[· = other]` as 0 and 1, in the term's type.
    pub(crate) fn equal(self, other: Self) -> Self {
        self.with(other, |b, a, other| b.equal(a, other, a))
    }

    /// `[· = 0]` as 0 and 1.
    pub(crate) fn is_zero(self) -> Self {
        self.with_number(0.0, |b, a, zero| b.equal(a, zero, a))
    }

    /// `then` if the term is a constant with all elements equal to `number`, else `otherwise`.
    pub(crate) fn where_known(self, number: f64, then: Self, otherwise: Self) -> Self {
        let places = (then.place, otherwise.place);
        self.formulas.open([self], move |formulas, b, [a]| {
            formulas.emit(b, if b.is_all(a, number) { places.0 } else { places.1 })
        })
    }

    /// Uses the term as a condition: `chosen` where it is true, else `other`.
    pub(crate) fn select(self, chosen: Self, other: Self) -> Self {
        self.formulas.open([self, chosen, other], |_, b, [c, a, other]| b.select(c, a, other))
    }

    /// Sum over the given axes, which remain with size 1.
    pub(crate) fn sum(self, axes: &[usize]) -> Self {
        let axes = axes.to_vec();
        self.then(move |b, a| b.sum(a, &axes))
    }

    /// Mean over the given axes, which remain with size 1.
    pub(crate) fn mean(self, axes: &[usize]) -> Self {
        let axes = axes.to_vec();
        self.then(move |b, a| b.mean(a, &axes))
    }

    /// Maximum over the given axes, which remain with size 1.
    pub(crate) fn max(self, axes: &[usize]) -> Self {
        let axes = axes.to_vec();
        self.then(move |b, a| b.max(a, &axes))
    }

    /// Repeats axes of size 1 up to the shape of another term.
    pub(crate) fn expand_like(self, like: Self) -> Self {
        self.with(like, |b, a, like| b.expand_like(a, like))
    }

    /// The same elements in another shape.
    pub(crate) fn reshape(self, shape: &[Dim]) -> Self {
        let shape = shape.to_vec();
        self.then(move |b, a| b.reshape(a, &shape))
    }
}

impl Neg for Term<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self.then(|b, a| b.neg(a))
    }
}

/// An operator between two terms, and between a term and a number on either side. In sums and products the number is
/// always the second operand.
macro_rules! operator {
    ($trait:ident, $method:ident, $from_left:expr) => {
        impl $trait for Term<'_> {
            type Output = Self;

            fn $method(self, other: Self) -> Self {
                self.with(other, |b, left, right| b.$method(left, right))
            }
        }

        impl $trait<f64> for Term<'_> {
            type Output = Self;

            fn $method(self, number: f64) -> Self {
                self.with_number(number, |b, a, number| b.$method(a, number))
            }
        }

        impl<'f> $trait<Term<'f>> for f64 {
            type Output = Term<'f>;

            fn $method(self, term: Term<'f>) -> Term<'f> {
                term.with_number(self, $from_left)
            }
        }
    };
}

operator!(Add, add, |b, a, number| b.add(a, number));
operator!(Sub, sub, |b, a, number| b.sub(number, a));
operator!(Mul, mul, |b, a, number| b.mul(a, number));
operator!(Div, div, |b, a, number| b.div(number, a));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::{Graph, Sizes},
        testing::model,
    };

    /// The operators that a formula of x and y appends.
    fn emitted(formula: impl for<'f> Fn(Term<'f>, Term<'f>) -> Term<'f>) -> Vec<String> {
        let model = model(&[("x", &[2]), ("y", &[2])], &[("Relu", &["x"], "z")], "z");
        let mut graph = Graph::new(&model, &Sizes::new()).expect("a graph");
        let (x, y) = (graph.value("x").expect("x"), graph.value("y").expect("y"));
        let formulas = Formulas::default();
        let mut b = Builder::new(&mut graph, "f");
        formula(formulas.value(x), formulas.value(y)).emit(&mut b).expect("a value");
        let added = graph.nodes().skip(1);
        added.map(|(_, node)| format!("{}({})", node.op(), node.input.join(", "))).collect()
    }

    #[test]
    fn a_formula_is_emitted_in_its_written_order() {
        let got = emitted(|x, y| (x + y) * -x);
        assert_eq!(got, ["Add(x, y)", "Neg(x)", "Mul(f/Add_0, f/Neg_1)"]);
    }

    #[test]
    fn shared_terms_are_emitted_once() {
        let got = emitted(|x, _| {
            let square = x.square();
            (1.0 - square) * (square + 1.0)
        });
        let want = [
            "Mul(x, x)",
            "Sub(f/constant_1, f/Mul_0)",
            "Add(f/Mul_0, f/constant_1)",
            "Mul(f/Sub_2, f/Add_3)",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn unneeded_terms_are_not_emitted() {
        let got = emitted(|x, y| {
            let _ = x.exp().log();
            x.where_known(2.0, x * y, x / y)
        });
        assert_eq!(got, ["Div(x, y)"]);
    }

    #[test]
    fn a_known_factor_of_one_is_not_emitted() {
        assert_eq!(
            emitted(|x, y| 1.0 * x / 1.0 + 0.0 * y),
            ["Mul(y, f/constant_1)", "Add(x, f/Mul_2)"]
        );
    }

    #[test]
    fn a_term_of_other_formulas_is_an_error() {
        let (here, there) = (Formulas::default(), Formulas::default());
        let model = model(&[("x", &[2])], &[("Relu", &["x"], "z")], "z");
        let mut graph = Graph::new(&model, &Sizes::new()).expect("a graph");
        let x = graph.value("x").expect("x");
        let mixed = there.value(x) + here.value(x);
        assert!(mixed.emit(&mut Builder::new(&mut graph, "f")).is_err());
    }
}
