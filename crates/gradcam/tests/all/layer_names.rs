//! Layers by the names that PyTorch users know, in files of both of PyTorch's exporters.

use gradcam::{Explainer, Model, Result};
use ndarray::ArrayD;
use testkit::{Suite, fixture};

pub(crate) fn tests(suite: &mut Suite) {
    for (layer, script, export, warnings) in ROWS {
        for (exporter, wanted) in [("torch_script", script), ("torch_export", export)] {
            suite.test(format!("layer_names::{layer}::{exporter}"), move || {
                check(exporter, layer, wanted, warnings);
            });
        }
    }
    testkit::tests!(suite, norms_inside_convolutions, trees_and_defaults_of_both_exporters,);
}

use crate::one_each::OneEach;

/// The operator that makes the layer's value, and the warnings of an explanation at that layer.
fn explained(exporter: &str, layer: &str) -> Result<(String, Vec<&'static str>)> {
    let model = Model::open(fixture(&format!("exporters/{exporter}.onnx")))?;
    let explainer = Explainer::builder(model.clone()).layer(layer).build()?;
    let value = explainer.layers().next().expect("a layer").1.to_owned();
    let mut nodes = model.graph().node.iter();
    let node = nodes.find(|node| node.output[0] == value).expect("a node makes it");
    // Which of several of its kind it is.
    let before = model.graph().node.iter().take_while(|other| other.output[0] != value);
    let nth = before.filter(|other| other.op() == node.op()).count();
    let x = ArrayD::from_shape_fn(vec![1, 3, 8, 8], |at| (at[2] * 8 + at[3]) as f32 / 64.0);
    let explanation = explainer.explain_one_each(x.view(), &[Default::default()])?;
    let warnings = explanation[0].warnings.iter().map(|warning| warning.id());
    Ok((format!("{} {nth}", node.op()), warnings.filter(|id| *id == "folded-norm").collect()))
}

const FOLDED: &[&str] = &["folded-norm"];

/// Layer; operator in torch's older exporter and in the newer one; warnings of both.
type Row = (&'static str, Option<&'static str>, Option<&'static str>, &'static [&'static str]);

const ROWS: [Row; 8] = [
    ("conv1", Some("Conv 0"), Some("Conv 0"), FOLDED),
    ("act", Some("Mul 0"), Some("Mul 0"), &[]),
    ("layer1.0.conv1", Some("Conv 1"), Some("Conv 1"), FOLDED),
    ("layer1.0.conv2", Some("Conv 2"), Some("Conv 2"), FOLDED),
    ("layer1.0", Some("Relu 1"), Some("Relu 1"), &[]),
    ("layer1", Some("Relu 3"), Some("Relu 3"), &[]),
    ("layer1.1", Some("Relu 3"), Some("Relu 3"), &[]),
    ("drop", None, None, &[]),
];

fn check(exporter: &str, layer: &str, wanted: Option<&str>, warnings: &[&str]) {
    match (explained(exporter, layer), wanted) {
        (Ok((op, warned)), Some(wanted)) => {
            assert_eq!((op.as_str(), warned.as_slice()), (wanted, warnings));
        }
        (Err(error), None) => {
            let message = error.to_string();
            assert!(message.contains(&format!("no layer named \"{layer}\"")), "{message}");
        }
        (got, wanted) => assert_eq!(format!("{got:?}"), format!("{wanted:?}")),
    }
}

/// A norm that left nothing in the older exporter's file is the output of its convolution, and that is said.
fn norms_inside_convolutions() {
    for (norm, conv) in [("bn1", "Conv 0"), ("layer1.0.bn2", "Conv 2")] {
        let script = explained("torch_script", norm).expect("its convolution");
        assert_eq!(script, (conv.to_owned(), vec!["folded-norm"]), "{norm}");
        let export = explained("torch_export", norm).expect("the norm's own scope");
        assert_eq!(export, (conv.to_owned(), Vec::new()), "{norm}");
    }
}

fn trees_and_defaults_of_both_exporters() {
    for exporter in ["torch_script", "torch_export"] {
        let model = Model::open(fixture(&format!("exporters/{exporter}.onnx"))).expect("a model");
        let list = Explainer::builder(model).layer_list().expect("layers");
        let paths: Vec<&str> = list.iter().map(|layer| layer.path.as_str()).collect();
        let default = list.iter().find(|layer| layer.default).expect("a default");
        assert_eq!(default.path, "layer1.1", "{exporter}");
        let outer = ["act", "layer1", "layer1.0", "layer1.0.relu", "layer1.1", "fc"];
        let found: Vec<&str> = paths.into_iter().filter(|path| outer.contains(path)).collect();
        assert_eq!(found, outer, "{exporter}");
    }
}
