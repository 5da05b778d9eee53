//! The flags of `gradcam grad`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use gradcam::onnx_grad::Dim;

/// The arguments of `gradcam grad`.
#[derive(Debug, Args)]
pub(crate) struct GradArgs {
    /// The ONNX model [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub(crate) model: Option<PathBuf>,

    /// The value that is differentiated: an output, or any value of the model, of any shape
    ///
    /// The gradient is that of the sum of its elements, as `y.sum().backward()` or grad_outputs of ones in PyTorch. One
    /// image does not change the outputs of another, so that each row of a batch has its own gradient. For one element, or
    /// any other weights, use --seed.
    #[arg(long, value_name = "VALUE", required = true, allow_hyphen_values = true)]
    pub(crate) of: String,

    /// A value with respect to which it is differentiated: an input, a layer, a weight; once for each
    ///
    /// `gradcam layers MODEL` lists the layers; a module path, the name of a node and that of a value are all good. The
    /// gradient is an output VALUE.grad of the shape of the value; that of a weight is the sum over a batch. Weights of
    /// convolutions have no gradient.
    #[arg(long, value_name = "VALUE", required = true, allow_hyphen_values = true)]
    pub(crate) wrt: Vec<String>,

    /// The name of a new input, by whose elements those of --of are multiplied before they are summed
    ///
    /// It has the type and the shape of --of, and the result is a vector-Jacobian product: a seed of 0 with a 1 at one
    /// element gives the gradient of that element.
    #[arg(long, value_name = "NAME")]
    pub(crate) seed: Option<String>,

    /// The sizes of an input that leaves them open: NAME=1,3,224,224; once for each input
    ///
    /// N is the size of an open batch, as in x=N,3,224,224. A first axis that is open stays so without this flag.
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    pub(crate) shapes: Vec<(String, Vec<Dim>)>,

    /// The file to write; weights of 2 GiB and more go to a second one beside it, FILE.data
    #[arg(short, long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The sizes of an input: `x=N,3,224,224`.
fn shape(text: &str) -> Result<(String, Vec<Dim>), String> {
    let dim = |size: &str| match size.trim() {
        "N" => Some(Dim::Batch(1)),
        size => size.parse().ok().filter(|size| *size > 0).map(Dim::Fixed),
    };
    let sizes = |(name, sizes): (&str, &str)| {
        let sizes = sizes.split(',').map(dim).collect::<Option<Vec<Dim>>>()?;
        (!name.is_empty()).then(|| (name.to_owned(), sizes))
    };
    let found = text.rsplit_once('=').and_then(sizes);
    found.ok_or_else(|| "expected NAME=SIZES such as x=1,3,224,224 or x=N,3,224,224".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_inputs() {
        let wanted = vec![Dim::Batch(1), Dim::Fixed(3), Dim::Fixed(8)];
        assert_eq!(shape("x=N, 3,8"), Ok(("x".to_owned(), wanted)));
        assert_eq!(shape("a=b=1"), Ok(("a=b".to_owned(), vec![Dim::Fixed(1)])));
        for wrong in ["x", "x=", "=1", "x=0", "x=-1", "x=3,", "x=n", "x=1x3"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
