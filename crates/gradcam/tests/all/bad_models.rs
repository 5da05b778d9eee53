//! Models that somebody made wrong, by hand or by a fuzzer: each ends with an error that says what is
//! wrong, or with a map, and none with a panic.

use std::{collections::BTreeSet, fs, path::Path};

use gradcam::{
    Explainer, Model, Target,
    ndarray::ArrayD,
    onnx_grad::{
        self, DeclaredDim, Dim, GradientForm, Graph, Options, builder::Builder, differentiate,
        gradient, inputs,
    },
};
use testkit::{Suite, fixture};

use crate::one_each::OneEach;

/// What a run may take here; some of the models want terabytes.
const MEMORY: u64 = 64 << 20;

/// File and a phrase of the first error; `MAP` where the model can be explained after all.
const MODELS: &[(&str, &str)] = &[
    ("auto_pad_unknown", r#""conv" (Conv, opset 17): its attributes"#),
    ("average_pool_of_a_million", "supported: up to 4096"),
    ("concat_of_nothing", "does not reach"),
    ("conv_of_unknown_shape", "do not match"),
    ("conv_without_weight", r#""conv" (Conv, opset 17): its attributes"#),
    ("cut_in_half", "cut short"),
    ("cycle", "is not defined before"),
    ("empty", "is empty"),
    ("endless_lengths", "not an ONNX model"),
    ("expand_beyond_64_bits", "more than 2^46 elements"),
    ("external_above", "outside the model's folder"),
    ("external_absent", "beside the model"),
    ("external_absolute", "outside the model's folder"),
    ("external_itself_beyond_its_end", "which has 432 bytes"),
    ("external_negative_offset", r#""-1" is not a number"#),
    ("external_without_location", "names no file"),
    ("flatten_axis_beyond", r#""flat" (Flatten, opset 17): its attributes"#),
    ("fast_gelu_of_two_outputs", "operators of this domain"),
    ("function_calls_itself", "calls itself"),
    ("function_unknown", "operators of this domain"),
    ("function_without_output", "is not defined before"),
    ("functions_call_each_other", "calls itself"),
    ("functions_double_40_times", "more than 65536 nodes"),
    ("gather_elements_of_other_rank", "do not match"),
    ("gather_of_huge_axis", "too large to be written as a constant"),
    ("gemm_of_a_scalar", "do not match"),
    ("group_norm_of_a_matrix", "no output of floats"),
    ("group_0", "into 0 groups"),
    ("group_too_many", "do not divide into"),
    ("huge_constant_of_shape", r#"GiB of memory at node "z" (ConstantOfShape)"#),
    ("huge_conv_pads", r#"of memory at node "big" (Conv)"#),
    ("huge_conv_transpose_stride", "memory at node \"big\" (ConvTranspose)"),
    ("huge_dim", "impossible shape"),
    ("huge_expand", r#"of memory at node "big" (Expand)"#),
    ("huge_pad", r#"of memory at node "big" (Pad)"#),
    ("huge_resize", "memory at node \"big\" (Resize)"),
    ("huge_tile", "memory at node \"big\" (Tile)"),
    ("if_branch_of_nothing", r#"reads "nothing""#),
    ("if_branch_reads_its_result", r#"reads "a2""#),
    ("if_with_empty_branches", "its then_branch has 0"),
    ("if_without_branches", "no then_branch"),
    ("initializer_twice", r#""w" is assigned twice"#),
    ("input_huge", "more than 2^46 elements"),
    ("input_negative", MAP),
    ("input_of_rank_1", r#""conv" (Conv, opset 17): its attributes"#),
    ("input_of_text", "takes string"),
    ("input_twice", "several inputs"),
    ("input_without_type", "is not a tensor"),
    ("max_pool_endless_kernel", "do not match"),
    ("max_pool_of_a_million", "supported: up to 4096"),
    ("missing_input", r#"reads "nothing""#),
    ("mul_of_three", "does not reach the target"),
    ("negative_dim", "impossible shape"),
    ("no_input", "no input"),
    ("no_nodes", r#""y" has no producer"#),
    ("no_output", "no output"),
    ("node_without_operator", "no gradient rule"),
    ("node_without_outputs", r#"reads "act""#),
    ("opset_0", "opsets 7 to 28"),
    ("opset_9999", "opsets 7 to 28"),
    ("opset_missing", "declares no opset"),
    ("opset_negative", "opsets 7 to 28"),
    ("opset_of_another_domain_only", "opsets 7 to 28"),
    ("opset_twice", "in two versions"),
    ("output_of_nothing", r#""nothing" has no producer"#),
    ("overflowing_dims", "impossible shape"),
    ("pads_as_float", r#""conv" (Conv, opset 17): its attributes"#),
    ("pads_cancel_out", r#""conv" (Conv, opset 17): its attributes"#),
    ("pads_three", r#""conv" (Conv, opset 17): its attributes"#),
    ("random_bytes", "not an ONNX model"),
    ("reads_itself", r#"reads "act""#),
    ("reshape_to_another_count", r#""big" (Reshape, opset 17): its attributes"#),
    ("shapes_that_do_not_broadcast", "do not match"),
    ("slice_step_0", r#""big" (Slice, opset 17): its attributes"#),
    ("slice_step_lowest", MAP),
    ("split_into_endless_parts", "num_outputs"),
    ("stride_0", r#""conv" (Conv, opset 17): its attributes"#),
    ("stride_huge", "beyond 2^31"),
    ("subgraphs_400_deep", "not an ONNX model"),
    ("too_few_weight_bytes", "needs 216 bytes"),
    ("too_few_weight_numbers", "needs 40 bytes"),
    ("trans_as_ints", "do not match"),
    ("transpose_same_axis_twice", r#""big" (Transpose, opset 17): its attributes"#),
    ("unsorted_nodes", "is not defined before"),
    ("value_assigned_twice", "assigned twice"),
    ("weight_of_text", "no tensors of type string"),
    ("weight_of_unknown_type", r#"cannot differentiate node "conv""#),
    ("zeros", "not an ONNX model"),
];

/// As a phrase: there is no error.
const MAP: &str = "a map";

pub(crate) fn tests(suite: &mut Suite) {
    for &(name, phrase) in MODELS {
        suite.test(format!("bad_models::{name}"), move || ends_with(name, phrase));
    }
    testkit::tests!(suite, every_bad_model_has_a_row,);
}

/// The sizes of the model's first input, 2 where the model leaves them open.
fn sizes(model: &Model) -> Option<(String, Vec<i64>)> {
    let input = inputs(model).into_iter().next()?;
    let size = |dim: DeclaredDim| if let DeclaredDim::Size(size) = dim { size } else { 2 };
    Some((input.name, input.dims.unwrap_or_default().into_iter().map(size).collect()))
}

/// The gradient of the first output with respect to the first input, and sums over space of all.
fn differentiated(model: &Model) -> Result<(), String> {
    let output = model.graph().output.first().and_then(|output| output.name.as_deref());
    let output = output.ok_or("the model has no output")?;
    let (input, dims) = sizes(model).ok_or("the model has no input")?;
    let dims = dims.into_iter().map(Dim::Fixed).collect();
    let options = Options { sizes: [(input.clone(), dims)].into(), ..Options::default() };
    let sums = || -> onnx_grad::Result<()> {
        let graph = Graph::new(model, &options.sizes)?;
        for &x in graph.inputs() {
            let mut graph = graph.clone();
            let y = graph.value(output)?;
            let mut b = Builder::new(&mut graph, "sum");
            let seed = b.scalar(y, 1.0)?;
            // Some values have no space to sum over.
            let _ = differentiate(&mut b, &[(y, seed)], &[(x, GradientForm::SpatialSum)], &[]);
        }
        Ok(())
    };
    let whole = gradient(model, output, &[&input], &options).map(|_| ());
    // Sums take other ways through the graph.
    let _ = sums();
    whole.map_err(|error| error.to_string())
}

/// A map of an image of zeros, by the embedded engine.
fn explained(model: Model) -> Result<(), String> {
    let shape: Vec<usize> = sizes(&model)
        .and_then(|(_, dims)| dims.iter().map(|&dim| usize::try_from(dim).ok()).collect())
        .ok_or("an input of impossible size")?;
    let text = |error: gradcam::Error| error.to_string();
    let explainer = Explainer::builder(model).max_memory(MEMORY).build().map_err(text)?;
    let pixels = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    if pixels.is_none_or(|pixels| pixels > 1 << 20) {
        return Err("an image that is too large to be made".to_owned());
    }
    explainer
        .explain_one_each(ArrayD::zeros(shape).view(), &[Target::Argmax])
        .map(|_| ())
        .map_err(text)
}

fn outcome(path: &Path) -> String {
    let model = match Model::open(path) {
        Ok(model) => model,
        Err(error) => return error.to_string(),
    };
    let (gradient, map) = (differentiated(&model), explained(model));
    gradient.and(map).err().unwrap_or_else(|| MAP.to_owned())
}

fn ends_with(name: &str, phrase: &str) {
    let ended = outcome(&fixture(&format!("bad_models/{name}.onnx")));
    assert!(ended.contains(phrase), "{ended}\n  not \"{phrase}\"");
}

fn every_bad_model_has_a_row() {
    let entries = fs::read_dir(fixture("bad_models")).expect("the folder");
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let files: BTreeSet<String> =
        entries.map(|entry| stem(&entry.expect("an entry").path())).collect();
    let rows: BTreeSet<String> = MODELS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, rows);
    assert_eq!(rows.len(), MODELS.len(), "a model has two rows");
}
