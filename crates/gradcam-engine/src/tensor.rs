//! The tensors that a session takes and returns, and the inputs and outputs that a graph declares.

use std::collections::HashSet;

use ndarray::{Array, ArrayBase, ArrayD, ArrayView, ArrayViewD, CowArray, Data, Dimension, IxDyn};
use onnx_grad::proto::{
    GraphProto, ValueInfoProto, elem_type, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as DimValue, type_proto::Value as TypeValue,
};

use super::error::{Result, bail};

/// A tensor that a session returns.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// Floats.
    F32(ArrayD<f32>),
    /// Integers of any width, and booleans as 0 and 1.
    I64(ArrayD<i64>),
}

impl Tensor {
    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
        }
    }

    /// Borrows the tensor, as an input of a session.
    pub fn view(&self) -> TensorView<'_> {
        match self {
            Self::F32(array) => TensorView::F32(array.view()),
            Self::I64(array) => TensorView::I64(array.view()),
        }
    }

    /// The array, if it holds floats.
    pub fn into_f32(self) -> Option<ArrayD<f32>> {
        match self {
            Self::F32(array) => Some(array),
            Self::I64(_) => None,
        }
    }

    /// The array, if it holds integers.
    pub fn into_i64(self) -> Option<ArrayD<i64>> {
        match self {
            Self::I64(array) => Some(array),
            Self::F32(_) => None,
        }
    }
}

impl<D: Dimension> From<Array<f32, D>> for Tensor {
    fn from(array: Array<f32, D>) -> Self {
        Self::F32(array.into_dyn())
    }
}

impl<D: Dimension> From<Array<i64, D>> for Tensor {
    fn from(array: Array<i64, D>) -> Self {
        Self::I64(array.into_dyn())
    }
}

/// A borrowed tensor, as a session takes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TensorView<'a> {
    /// Floats, for an input of any float type.
    F32(ArrayViewD<'a, f32>),
    /// Integers, for an input of booleans or of any integer type that can represent them.
    I64(ArrayViewD<'a, i64>),
}

impl TensorView<'_> {
    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
        }
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, f32, D>> for TensorView<'a> {
    fn from(array: ArrayView<'a, f32, D>) -> Self {
        Self::F32(array.into_dyn())
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, i64, D>> for TensorView<'a> {
    fn from(array: ArrayView<'a, i64, D>) -> Self {
        Self::I64(array.into_dyn())
    }
}

impl<'a, S: Data<Elem = f32>, D: Dimension> From<&'a ArrayBase<S, D>> for TensorView<'a> {
    fn from(array: &'a ArrayBase<S, D>) -> Self {
        Self::F32(array.view().into_dyn())
    }
}

/// The array in row-major order. It is copied only if it has another order.
pub(super) fn contiguous<'a, T: Clone>(array: &'a ArrayViewD<'_, T>) -> CowArray<'a, T, IxDyn> {
    array.as_standard_layout()
}

/// The numbers of an array in row-major order.
pub(super) fn elements<'a, T>(array: &'a CowArray<'_, T, IxDyn>) -> &'a [T] {
    array.as_slice().unwrap_or_default()
}

/// The declared inputs and outputs of a graph, for checking calls.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    inputs: Vec<InputDeclaration>,
    outputs: Vec<String>,
}

#[derive(Clone, Debug)]
struct InputDeclaration {
    name: String,
    elem: DataType,
    /// `None` if the model does not declare it; a dimension is `None` if it can have any size.
    shape: Option<Vec<Option<usize>>>,
}

impl Signature {
    pub(super) fn of(graph: &GraphProto) -> Self {
        // Before IR version 4, initializers are listed as inputs too.
        let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.label()).collect();
        let name = |value: &ValueInfoProto| value.name.clone().unwrap_or_default();
        let inputs = graph.input.iter().filter(|v| !constants.contains(name(v).as_str()));
        let inputs = inputs
            .map(|value| {
                let (elem, shape) = type_of(value);
                InputDeclaration { name: name(value), elem, shape }
            })
            .collect();
        Self { inputs, outputs: graph.output.iter().map(name).collect() }
    }

    /// Checks the names, types and shapes of a call, so that every engine reports mistakes in the same words.
    pub(super) fn check(&self, inputs: &[(&str, TensorView<'_>)], outputs: &[&str]) -> Result<()> {
        for (at, (name, tensor)) in inputs.iter().enumerate() {
            let Some(input) = self.inputs.iter().find(|i| i.name == *name) else {
                let names = quoted(self.inputs.iter().map(|i| i.name.as_str()));
                bail!(InvalidInput, "the model has no input \"{name}\"; its inputs are: {names}");
            };
            if inputs[..at].iter().any(|(earlier, _)| earlier == name) {
                bail!(InvalidInput, "input \"{name}\" is given twice");
            }
            input.check(tensor)?;
        }
        if let Some(missing) = self.inputs.iter().find(|i| inputs.iter().all(|(n, _)| *n != i.name))
        {
            bail!(InvalidInput, "input \"{}\" is missing", missing.name);
        }
        if let Some(name) = outputs.iter().find(|name| !self.outputs.iter().any(|o| o == *name)) {
            let names = quoted(self.outputs.iter().map(String::as_str));
            bail!(UnknownOutput, "the model has no output \"{name}\"; its outputs are: {names}");
        }
        Ok(())
    }
}

impl InputDeclaration {
    fn check(&self, tensor: &TensorView<'_>) -> Result<()> {
        let name = &self.name;
        let fits = match tensor {
            TensorView::F32(_) => self.elem.is_float() || self.elem == DataType::Undefined,
            TensorView::I64(_) => !self.elem.is_float(),
        };
        if !fits {
            let got = match tensor {
                TensorView::F32(_) => "floats",
                TensorView::I64(_) => "integers",
            };
            let wanted = self.elem.as_str_name().to_lowercase();
            bail!(InvalidInput, "input \"{name}\" is given {got}; the model takes {wanted}");
        }
        let Some(wanted) = &self.shape else { return Ok(()) };
        let got = tensor.shape();
        let same = got.len() == wanted.len()
            && got.iter().zip(wanted).all(|(got, wanted)| wanted.is_none_or(|w| w == *got));
        if !same {
            let wanted: Vec<_> =
                wanted.iter().map(|d| d.map_or("?".to_owned(), |d| d.to_string())).collect();
            let wanted = wanted.join(", ");
            bail!(
                InvalidInput,
                "input \"{name}\" has the shape {got:?}; the model takes [{wanted}]"
            );
        }
        Ok(())
    }
}

/// The declared element type and shape of a value.
pub(super) fn type_of(value: &ValueInfoProto) -> (DataType, Option<Vec<Option<usize>>>) {
    let tensor = value.r#type.as_ref().and_then(|t| match &t.value {
        Some(TypeValue::TensorType(tensor)) => Some(tensor),
        _ => None,
    });
    let Some(tensor) = tensor else { return (DataType::Undefined, None) };
    let dims = tensor.shape.as_ref().map(|shape| {
        let size = |dim: &Option<DimValue>| match dim {
            Some(DimValue::DimValue(size)) => usize::try_from(*size).ok(),
            _ => None,
        };
        shape.dim.iter().map(|dim| size(&dim.value)).collect()
    });
    (elem_type(tensor.elem_type), dims)
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}
