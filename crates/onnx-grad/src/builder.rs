//! Appends nodes to a graph. Gradient rules and explanation methods use the builder's methods,
//! which follow opset 18; `spell` writes each operation for the model's own opset.
//!
//! The builder omits operations without effect: products with 1, sums over axes of size 1, reshapes
//! to the same shape. It takes shapes from the facts; a method that needs an unknown shape fails
//! with the name of the value.

mod again;
mod arithmetic;
mod layout;
mod raw;
mod resample;
mod spell;
mod term;

pub(crate) use term::{Formulas, Term};

use crate::{
    error::{Error, ErrorKind, Result, bail},
    facts::{Dim, Fact},
    graph::{Graph, NodeId, ValueId},
    proto::{TensorProto, tensor_proto::DataType},
};

/// Appends nodes to a graph.
#[derive(Debug)]
pub struct Builder<'g> {
    graph: &'g mut Graph,
    scope: String,
    /// The node that the following nodes differentiate.
    source: Option<NodeId>,
    counter: usize,
    /// The total size of the appended constants, in bytes.
    bytes: usize,
}

/// A small model can require an unlimited graph: a pooling window of width 1,000,000 has 1,000,000
/// taps. These limits apply to the nodes of a graph, the elements of one constant and the bytes of
/// all constants.
const NODE_LIMIT: usize = 1 << 18;
pub(crate) const CONSTANT_LIMIT: i64 = 1 << 24;
const BYTES_LIMIT: usize = 1 << 28;

/// The number of elements of a constant of that shape, checked before the constant is created.
///
/// # Errors
/// `TooLarge` if a model cannot hold that many elements.
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
        Self { graph, scope: scope.to_owned(), source: None, counter: 0, bytes: 0 }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Sets the scope of the following names. The following nodes differentiate no node.
    pub fn set_scope(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
        self.source = None;
    }

    /// Sets the node that the following nodes differentiate; their names are in its scope.
    pub(crate) fn set_source(&mut self, node: NodeId) {
        let label = self.graph.node(node).label().trim_start_matches('/');
        self.scope = format!("grad/{label}");
        self.source = Some(node);
    }

    /// The facts of a value.
    pub fn fact(&self, value: ValueId) -> &Fact {
        self.graph.fact(value)
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// `Shape` if it is unknown.
    pub fn shape(&self, value: ValueId) -> Result<Vec<Dim>> {
        let Some(shape) = &self.fact(value).shape else {
            bail!(Shape, "the shape of \"{}\" is not known", self.graph.name(value));
        };
        Ok(shape.clone())
    }

    /// The number of axes of a value.
    ///
    /// # Errors
    /// `Shape` if it is unknown.
    pub fn rank(&self, value: ValueId) -> Result<usize> {
        Ok(self.shape(value)?.len())
    }

    /// The size of one axis as a number.
    ///
    /// # Errors
    /// `Shape` if the axis does not exist, or its size is unknown or depends on the open batch
    /// size.
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
        #[expect(clippy::float_cmp, reason = "exact comparison of constants")]
        floats.is_some_and(|floats| floats.iter().all(|&float| float == number))
    }

    /// The integers `from..to`, such as the indices along an axis.
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

    /// A truth value.
    pub(crate) fn truth(&mut self, truth: bool) -> Result<ValueId> {
        self.constant(DataType::Bool, &[], vec![u8::from(truth)])
    }

    /// A one-dimensional int64 constant, the form of axes and shapes.
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

    /// A float32 zero, the cotangent of nodes that are refused in any case.
    pub(crate) fn raw_zero(&mut self) -> Result<ValueId> {
        self.constant(DataType::Float, &[], 0f32.to_le_bytes().to_vec())
    }
}

/// An axis or a count as the int64 that ONNX uses.
pub(crate) fn index(number: usize) -> Result<i64> {
    let too_large =
        |e| Error::new(ErrorKind::TooLarge, format!("{number} is not an axis")).because(e);
    i64::try_from(number).map_err(too_large)
}
