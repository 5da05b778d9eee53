//! Appends nodes to a graph. The methods are the dialect that gradient rules and explanation methods
//! are written in: opset-18 forms, which `spell` writes at the model's own opset.
//!
//! Nothing is emitted that is known before: products with 1, sums over axes of size 1, reshapes to
//! the same shape. Shapes are those of the facts; a method that needs one that is unknown fails with
//! the name of the value.

mod raw;
mod spell;
mod term;

pub(crate) use term::{Formulas, Term};

use crate::{
    attrs,
    error::{Error, ErrorKind, Result, bail},
    facts::{Dim, Fact},
    graph::{Graph, ValueId},
    proto::{AttributeProto, TensorProto, tensor_proto::DataType},
};

/// Appends nodes to a graph.
#[derive(Debug)]
pub struct Builder<'g> {
    graph: &'g mut Graph,
    scope: String,
    counter: usize,
    /// What the constants take that were appended.
    bytes: usize,
}

/// A model of some hundred bytes can ask for graphs without end: a window a million wide has a million
/// taps. The nodes of a graph, the numbers of one constant, and the bytes of all.
const NODE_LIMIT: usize = 1 << 18;
pub(crate) const CONSTANT_LIMIT: i64 = 1 << 24;
const BYTES_LIMIT: usize = 1 << 28;

/// How many numbers a constant of that shape has, asked before it is made.
///
/// # Errors
/// `TooLarge` where they are too many to be written into a model.
pub(crate) fn constant_size(shape: &[i64]) -> Result<usize> {
    let sizes = shape.iter().map(|&size| size.max(0));
    let count = sizes.clone().try_fold(1i64, i64::checked_mul).filter(|n| *n <= CONSTANT_LIMIT);
    match count.and_then(|count| usize::try_from(count).ok()) {
        Some(count) => Ok(count),
        None => bail!(TooLarge, "{shape:?} is too large to be written as a constant"),
    }
}

impl<'g> Builder<'g> {
    /// A builder whose nodes and values are named `<scope>/<op>_<n>`.
    pub fn new(graph: &'g mut Graph, scope: &str) -> Self {
        Self { graph, scope: scope.to_owned(), counter: 0, bytes: 0 }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Names what follows after another scope, such as the node that is being differentiated.
    pub fn set_scope(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
    }

    /// What is known of a value.
    pub fn fact(&self, value: ValueId) -> &Fact {
        self.graph.fact(value)
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// `Shape` where it is not known.
    pub fn shape(&self, value: ValueId) -> Result<Vec<Dim>> {
        let Some(shape) = &self.fact(value).shape else {
            bail!(Shape, "the shape of \"{}\" is not known", self.graph.name(value));
        };
        Ok(shape.clone())
    }

    /// The number of axes of a value.
    ///
    /// # Errors
    /// `Shape` where it is not known.
    pub fn rank(&self, value: ValueId) -> Result<usize> {
        Ok(self.shape(value)?.len())
    }

    /// The size of one axis in numbers.
    ///
    /// # Errors
    /// `Shape` where it is not known, does not exist or depends on the open batch size.
    pub fn size(&self, value: ValueId, axis: usize) -> Result<i64> {
        match self.shape(value)?.get(axis) {
            Some(Dim::Fixed(size)) => Ok(*size),
            found => {
                let name = self.graph.name(value);
                let found = found.map_or("missing".to_owned(), Dim::to_string);
                bail!(Shape, "axis {axis} of \"{name}\" must be a known size, it is {found}")
            }
        }
    }

    /// The element type of a value.
    pub fn elem(&self, value: ValueId) -> DataType {
        self.fact(value).elem
    }

    fn fresh(&mut self, hint: &str) -> String {
        loop {
            let name = format!("{}/{hint}_{}", self.scope, self.counter);
            self.counter += 1;
            if self.graph.find(&name).is_none() {
                return name;
            }
        }
    }

    // Constants.

    /// Whether a value is a constant whose every element is `number`.
    pub fn is_all(&self, value: ValueId, number: f64) -> bool {
        let floats = self.fact(value).floats();
        #[expect(clippy::float_cmp, reason = "constants are compared as they are written")]
        floats.is_some_and(|floats| floats.iter().all(|&float| float == number))
    }

    /// The integers `from..to`, as places along an axis are written.
    pub(crate) fn places(&self, from: i64, to: i64) -> Result<Vec<i64>> {
        constant_size(&[to.saturating_sub(from)])?;
        Ok((from..to).collect())
    }

    fn constant(&mut self, elem: DataType, dims: &[i64], bytes: Vec<u8>) -> Result<ValueId> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_LIMIT {
            bail!(TooLarge, "the constants of the gradient have more than {BYTES_LIMIT} bytes");
        }
        let name = self.fresh("constant");
        self.graph.push_initializer(TensorProto {
            name: Some(name),
            data_type: Some(elem as i32),
            dims: dims.to_vec(),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        })
    }

    /// An int64 constant.
    pub fn ints(&mut self, dims: &[i64], numbers: &[i64]) -> Result<ValueId> {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.constant(DataType::Int64, dims, bytes)
    }

    /// A one-dimensional int64 constant, as axes and shapes are given.
    pub fn list(&mut self, numbers: &[i64]) -> Result<ValueId> {
        let Ok(len) = i64::try_from(numbers.len()) else {
            bail!(TooLarge, "a list of {} numbers", numbers.len());
        };
        self.ints(&[len], numbers)
    }

    /// A constant with the element type of `like`.
    pub fn floats(&mut self, like: ValueId, dims: &[i64], numbers: &[f64]) -> Result<ValueId> {
        let elem = self.elem(like);
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the model's own precision")]
        let bytes = match elem {
            DataType::Float => numbers.iter().flat_map(|&n| (n as f32).to_le_bytes()).collect(),
            DataType::Double => numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
            other => {
                let single: Vec<u8> =
                    numbers.iter().flat_map(|&n| (n as f32).to_le_bytes()).collect();
                let single = self.constant(DataType::Float, dims, single)?;
                return self.cast(single, other);
            }
        };
        self.constant(elem, dims, bytes)
    }

    /// A scalar constant with the element type of `like`.
    pub fn scalar(&mut self, like: ValueId, number: f64) -> Result<ValueId> {
        self.floats(like, &[], &[number])
    }

    // Arithmetic, with broadcasting.

    fn binary(&mut self, op: &str, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.raw(op, &[a, b], vec![])
    }

    /// Whether `small` broadcasts into the shape of `big` without changing it.
    pub(crate) fn fits_into(&self, small: ValueId, big: ValueId) -> bool {
        let (Some(small), Some(big)) = (&self.fact(small).shape, &self.fact(big).shape) else {
            return false;
        };
        small.len() <= big.len()
            && small.iter().rev().zip(big.iter().rev()).all(|(s, b)| *s == Dim::Fixed(1) || s == b)
    }

    /// `a + b`.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(a, 0.0) && self.fits_into(a, b) {
            return Ok(b);
        }
        if self.is_all(b, 0.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Add", a, b)
    }

    /// `a − b`.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(b, 0.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Sub", a, b)
    }

    /// `a · b`.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(a, 1.0) && self.fits_into(a, b) {
            return Ok(b);
        }
        if self.is_all(b, 1.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Mul", a, b)
    }

    /// `a / b`.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        if self.is_all(b, 1.0) && self.fits_into(b, a) {
            return Ok(a);
        }
        self.binary("Div", a, b)
    }

    /// `number · a`.
    pub fn scale(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.mul(a, number)
    }

    /// `−a`.
    pub fn neg(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Neg", &[a], vec![])
    }

    /// Square root.
    pub fn sqrt(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Sqrt", &[a], vec![])
    }

    /// `e^a`.
    pub fn exp(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Exp", &[a], vec![])
    }

    /// Natural logarithm.
    pub fn log(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Log", &[a], vec![])
    }

    /// `a` to the power `b`, both of one type.
    pub fn pow(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("Pow", a, b)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Tanh", &[a], vec![])
    }

    /// The larger of two values, element by element.
    pub fn maximum(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("Max", a, b)
    }

    /// A float32 zero, for cotangents of nodes that are refused anyway.
    pub(crate) fn raw_zero(&mut self) -> Result<ValueId> {
        self.constant(DataType::Float, &[], 0f32.to_le_bytes().to_vec())
    }

    /// `max(a, 0)`.
    pub fn relu(&mut self, a: ValueId) -> Result<ValueId> {
        self.raw("Relu", &[a], vec![])
    }

    /// The sign: −1, 0 or 1.
    pub(crate) fn sign(&mut self, a: ValueId) -> Result<ValueId> {
        self.spell_sign(a)
    }

    /// `a` where a boolean holds, else `b`; from opset 9 on.
    pub(crate) fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.raw("Where", &[condition, a, b], vec![])
    }

    // Masks: 0 and 1 in the type of `like`, never booleans that select.

    fn as_mask(&mut self, condition: ValueId, like: ValueId) -> Result<ValueId> {
        let elem = self.elem(like);
        self.cast(condition, elem)
    }

    /// `[a > b]` as 0 and 1, in the type of `a`.
    pub fn greater(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let condition = self.binary("Greater", a, b)?;
        self.as_mask(condition, a)
    }

    /// `[a < b]` as 0 and 1, in the type of `a`.
    pub fn less(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let condition = self.binary("Less", a, b)?;
        self.as_mask(condition, a)
    }

    /// `[a > number]` as 0 and 1.
    pub fn above(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.greater(a, number)
    }

    /// `[a < number]` as 0 and 1.
    pub fn below(&mut self, a: ValueId, number: f64) -> Result<ValueId> {
        let number = self.scalar(a, number)?;
        self.less(a, number)
    }

    /// `[low < a]·[a < high]` as 0 and 1, in the type of `a`: one mask costs half of what two do.
    pub fn between(&mut self, a: ValueId, low: ValueId, high: ValueId) -> Result<ValueId> {
        let above = self.binary("Greater", a, low)?;
        let below = self.binary("Less", a, high)?;
        let both = self.raw("And", &[above, below], vec![])?;
        self.as_mask(both, a)
    }

    /// `[a = b]` as 0 and 1, in the type of `like`.
    pub fn equal(&mut self, a: ValueId, b: ValueId, like: ValueId) -> Result<ValueId> {
        let condition = self.spell_equal(a, b)?;
        self.as_mask(condition, like)
    }

    /// Converts to another element type.
    pub fn cast(&mut self, a: ValueId, elem: DataType) -> Result<ValueId> {
        if self.elem(a) == elem {
            return Ok(a);
        }
        self.raw("Cast", &[a], vec![attrs::int("to", i64::from(elem as i32))])
    }

    // Products and sums.

    /// Matrix product on the last two axes, the others broadcast.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary("MatMul", a, b)
    }

    /// Sum over the given axes, which stay with size 1.
    pub fn sum(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceSum", a, axes)
    }

    /// Mean over the given axes, which stay with size 1.
    pub fn mean(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMean", a, axes)
    }

    /// Maximum over the given axes, which stay with size 1.
    pub fn max(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMax", a, axes)
    }

    /// Product over the given axes, which stay with size 1.
    pub(crate) fn prod(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceProd", a, axes)
    }

    /// Minimum over the given axes, which stay with size 1.
    pub fn min(&mut self, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        self.reduce("ReduceMin", a, axes)
    }

    fn reduce(&mut self, op: &str, a: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = self.shape(a)?;
        let mut axes: Vec<i64> = axes
            .iter()
            .filter(|&&axis| shape.get(axis) != Some(&Dim::Fixed(1)))
            .map(|&axis| index(axis))
            .collect::<Result<_>>()?;
        axes.sort_unstable();
        if axes.is_empty() {
            return Ok(a);
        }
        self.spell_reduce(op, a, &axes)
    }

    // Layout.

    /// The same elements in another shape. At most one dim may carry the open batch size.
    pub fn reshape(&mut self, a: ValueId, shape: &[Dim]) -> Result<ValueId> {
        if self.fact(a).shape.as_deref() == Some(shape) {
            return Ok(a);
        }
        let open = shape.iter().filter(|dim| dim.fixed().is_none()).count();
        if open > 1 {
            bail!(
                Shape,
                "cannot reshape \"{}\" to a shape with two open sizes",
                self.graph.name(a)
            );
        }
        let target: Vec<i64> = shape.iter().map(|dim| dim.fixed().unwrap_or(-1)).collect();
        let target = self.list(&target)?;
        self.raw("Reshape", &[a, target], vec![])
    }

    /// Repeats axes of size 1 until the shape is the given one.
    pub fn expand(&mut self, a: ValueId, shape: &[Dim]) -> Result<ValueId> {
        if self.fact(a).shape.as_deref() == Some(shape) {
            return Ok(a);
        }
        self.spell_expand(a, shape)
    }

    /// As [`Builder::expand`], to the shape of another value, whatever that is at run time.
    pub fn expand_like(&mut self, a: ValueId, like: ValueId) -> Result<ValueId> {
        let shape = self.shape(like)?;
        if shape.iter().all(|dim| dim.fixed().is_some()) || self.shape(a)? == shape {
            return self.expand(a, &shape);
        }
        self.spell_expand_like(a, like)
    }

    /// As [`Builder::expand`], to the first two sizes of another value, whatever those are at run time.
    pub(crate) fn expand_to_front(&mut self, a: ValueId, like: ValueId) -> Result<ValueId> {
        let shape = self.shape(like)?;
        let front = &shape[..2];
        if front.iter().all(|dim| dim.fixed().is_some()) || self.shape(a)? == front {
            return self.expand(a, front);
        }
        // One element of each channel has those sizes, at every opset.
        let mut first = like;
        for axis in 2..shape.len() {
            first = self.slice(first, axis, 0, 1, 1)?;
        }
        let first = self.reshape(first, front)?;
        self.spell_expand_like(a, first)
    }

    /// Reorders axes: axis `i` of the result is axis `perm[i]` of `a`.
    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().enumerate().all(|(i, &axis)| i == axis) {
            return Ok(a);
        }
        let perm = perm.iter().map(|&axis| index(axis)).collect::<Result<Vec<_>>>()?;
        self.raw("Transpose", &[a], vec![attrs::ints("perm", &perm)])
    }

    /// Joins values along an axis.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        match parts {
            [one] => Ok(*one),
            parts => self.raw("Concat", parts, vec![attrs::int("axis", index(axis)?)]),
        }
    }

    /// Elements `start, start + step, …` (`count` of them) of one axis.
    pub fn slice(
        &mut self,
        a: ValueId,
        axis: usize,
        start: i64,
        count: i64,
        step: i64,
    ) -> Result<ValueId> {
        if start == 0 && step == 1 && self.size(a, axis)? == count {
            return Ok(a);
        }
        self.spell_slice(a, axis, start, count, step)
    }

    /// One axis backwards.
    pub fn reverse(&mut self, a: ValueId, axis: usize) -> Result<ValueId> {
        let size = self.size(a, axis)?;
        if size == 1 {
            return Ok(a);
        }
        let mut order = self.places(0, size)?;
        order.reverse();
        let order = self.list(&order)?;
        self.gather(a, order, axis)
    }

    /// Adds `number` around: `begins[i]` before and `ends[i]` after axis `i`; negative counts crop.
    pub fn pad(
        &mut self,
        a: ValueId,
        begins: &[i64],
        ends: &[i64],
        number: f64,
    ) -> Result<ValueId> {
        if begins.iter().chain(ends).all(|&count| count == 0) {
            return Ok(a);
        }
        self.spell_pad(a, begins, ends, number)
    }

    /// As [`Builder::pad`], with zeros and on one axis.
    pub fn pad_axis(&mut self, a: ValueId, axis: usize, begin: i64, end: i64) -> Result<ValueId> {
        let rank = self.rank(a)?;
        let (mut begins, mut ends) = (vec![0; rank], vec![0; rank]);
        begins[axis] = begin;
        ends[axis] = end;
        self.pad(a, &begins, &ends, 0.0)
    }

    /// Rows of `a` along an axis, picked by `indices`.
    pub fn gather(&mut self, a: ValueId, indices: ValueId, axis: usize) -> Result<ValueId> {
        self.raw("Gather", &[a, indices], vec![attrs::int("axis", index(axis)?)])
    }

    /// `y[n] = x[n, index[n]]`: `x` is `[N, K]`, `index` int64 `[N]`, and so is the result, `[N]`.
    pub fn pick(&mut self, x: ValueId, index: ValueId) -> Result<ValueId> {
        let shape = self.shape(x)?;
        let column = self.reshape(index, &[shape[0], Dim::Fixed(1)])?;
        let picked = self.spell_pick(x, column)?;
        self.reshape(picked, &shape[..1])
    }

    /// A convolution with explicit geometry.
    pub(crate) fn conv(
        &mut self,
        op: &str,
        x: ValueId,
        w: ValueId,
        attributes: Vec<AttributeProto>,
    ) -> Result<ValueId> {
        self.raw(op, &[x, w], attributes)
    }
}

/// An axis or a count as ONNX writes it.
pub(crate) fn index(number: usize) -> Result<i64> {
    let too_large = |e| Error::new(ErrorKind::TooLarge, format!("{number} is no axis")).because(e);
    i64::try_from(number).map_err(too_large)
}
