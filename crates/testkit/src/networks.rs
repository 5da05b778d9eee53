//! Complete networks with reference maps from PyTorch in float64.

use std::{collections::BTreeMap, fs};

use onnx_grad::{Dim, Model, graph::Graph, proto::ModelProto};
use prost::Message;
use serde::Deserialize;

use crate::{
    FixtureTensor,
    build::{f32s, node},
    fixture, largest_error, uniform,
    weights::weighed,
};

/// The references of one layer.
#[derive(Clone, Debug, Deserialize)]
pub struct LayerReference {
    /// The value's name.
    pub value: String,
    /// Raw maps of Grad-CAM, [N, h, w].
    pub gradcam: FixtureTensor,
    /// Raw maps of HiResCAM.
    pub hirescam: FixtureTensor,
    /// Raw maps of LayerCAM.
    pub layercam: FixtureTensor,
    /// Grad-CAM's channel weights [N, K], if stored.
    #[serde(default)]
    pub weights: Option<FixtureTensor>,
}

impl LayerReference {
    /// The methods with reference maps.
    pub const METHODS: [&str; 3] = ["gradcam", "hirescam", "layercam"];

    /// The raw maps of a method.
    pub fn maps(&self, method: &str) -> Option<&FixtureTensor> {
        match method {
            "gradcam" => Some(&self.gradcam),
            "hirescam" => Some(&self.hirescam),
            "layercam" => Some(&self.layercam),
            _ => None,
        }
    }
}

/// A network with weights from a seed.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferenceNetwork {
    seed: u64,
    /// The shape of the input, [N, C, …].
    pub input: Vec<usize>,
    /// The class of each image.
    pub classes: Vec<usize>,
    scales: BTreeMap<String, f32>,
    /// The first eight logits of each image.
    pub logits: FixtureTensor,
    /// By module path: the default layer and an early one.
    pub layers: BTreeMap<String, LayerReference>,
    /// The gradient of each image for its class.
    pub gradient: ImageGradient,
}

/// Samples of a gradient with the size of the images.
#[derive(Clone, Debug, Deserialize)]
pub struct ImageGradient {
    stride: usize,
    largest: f64,
    data: Vec<f64>,
}

impl ImageGradient {
    /// The largest difference of the samples, relative to the largest entry of the whole gradient;
    /// infinite if the element count does not match or a number is NaN.
    pub fn largest_error(&self, got: &[f32]) -> f64 {
        let known: Vec<f32> = got.iter().step_by(self.stride).copied().collect();
        let within = self.data.iter().fold(0.0, |max: f64, number| max.max(number.abs()));
        largest_error(&known, &self.data) * within / self.largest
    }
}

/// The names of the networks for [`network`].
pub const NETWORKS: [&str; 15] = [
    "convnext_tiny",
    "densenet121",
    "ecg",
    "efficientnet_b0",
    "googlenet",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "r3d_18",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "vgg11_bn",
    "vgg16",
];

/// A network from the fixtures, with its weights filled in, and its references.
///
/// # Panics
/// If a fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn network(name: &str) -> (Model, ReferenceNetwork) {
    let path = |ending: &str| fixture(&format!("networks/{name}.{ending}"));
    let read = || -> Result<(Model, ReferenceNetwork), Box<dyn std::error::Error>> {
        let known: ReferenceNetwork = serde_json::from_str(&fs::read_to_string(path("json"))?)?;
        Ok((weighed(&path("onnx"), known.seed, &known.scales)?, known))
    };
    read().unwrap_or_else(|e| panic!("network {name}: {e}"))
}

impl ReferenceNetwork {
    /// The input of the reference, in row-major order.
    pub fn image(&self) -> Vec<f32> {
        let count: usize = self.input.iter().product();
        (0u64..).take(count).map(|index| uniform(self.seed, "input", index)).collect()
    }
}

/// The references of the built-in model for one photo and one class.
#[derive(Clone, Debug, Deserialize)]
pub struct Lite0Reference {
    /// The photo, `<photo>_224.png` in the folder of the references.
    pub photo: String,
    /// The class.
    pub class: usize,
    /// What moves inputs of rectifiers away from their kinks, by the output of the Clip. The references are those of the model
    /// with these constants in front of it.
    pub moves: BTreeMap<String, KinkMoves>,
    /// All logits.
    pub logits: FixtureTensor,
    /// By module path.
    pub layers: BTreeMap<String, LayerReference>,
    /// Rows of the Grad-CAM heatmap at `bn2`, 0…1, by row number.
    pub heatmap_rows: BTreeMap<usize, Vec<f64>>,
}

impl Lite0Reference {
    /// The built-in model with constants in front of its rectifiers, which keep their inputs of this photo away from the kinks.
    ///
    /// # Panics
    /// If it is another model.
    #[expect(clippy::expect_used, reason = "only tests call this function")]
    pub fn settled(&self, built_in: &Model) -> Model {
        let bytes = built_in.to_bytes().expect("bytes");
        let mut proto = ModelProto::decode(bytes.as_slice()).expect("a message");
        let image = built_in.graph().input[0].name().to_owned();
        let sizes = [(image, [1, 3, 224, 224].map(Dim::Fixed).to_vec())].into();
        let facts = Graph::new(built_in, &sizes).expect("a graph");
        let graph = proto.graph.as_mut().expect("a graph");
        for (clip, moves) in &self.moves {
            let place = graph.node.iter().position(|node| node.output[0] == *clip);
            let place = place.expect("a Clip");
            let sizes = facts.find(clip).and_then(|value| facts.fact(value).sizes());
            let sizes = sizes.expect("sizes");
            let len = sizes.iter().product::<i64>().try_into().expect("a length");
            let (constant, moved) = (format!("{clip}.moves"), format!("{clip}.moved"));
            graph.initializer.push(f32s(&constant, &sizes, &moves.offsets(len)));
            let rectifier = &mut graph.node[place];
            let input = std::mem::replace(&mut rectifier.input[0], moved.clone());
            let mut add = node("Add", &[&input, &constant], &[&moved], vec![]);
            // In the same module.
            add.name = rectifier.name.as_ref().map(|name| format!("{name}_moved"));
            graph.node.insert(place, add);
        }
        Model::from_bytes(proto.encode_to_vec()).expect("a model")
    }
}

/// The inputs of a rectifier that are nearer to 0 or 6 than float32 may round. Each is moved by [`KinkMoves::BY`], away from the
/// kink, so that every processor's float32 has the gradient of float64.
#[derive(Clone, Debug, Deserialize)]
pub struct KinkMoves {
    /// Places that move up, in the order of the numbers.
    pub up: Vec<usize>,
    /// Places that move down.
    pub down: Vec<usize>,
}

impl KinkMoves {
    /// Exact in float32.
    pub const BY: f32 = 1.0 / 2048.0;

    /// What is added to a tensor of `len` numbers.
    ///
    /// # Panics
    /// If a place is beyond them.
    pub fn offsets(&self, len: usize) -> Vec<f32> {
        let mut offsets = vec![0.0; len];
        self.up.iter().for_each(|place| offsets[*place] = Self::BY);
        self.down.iter().for_each(|place| offsets[*place] = -Self::BY);
        offsets
    }
}

/// The references of the built-in model.
///
/// # Panics
/// If the fixture cannot be read.
#[expect(clippy::panic, reason = "only tests call this function")]
pub fn lite0() -> Vec<Lite0Reference> {
    let read = || -> Result<Vec<Lite0Reference>, Box<dyn std::error::Error>> {
        Ok(serde_json::from_str(&fs::read_to_string(fixture("networks/lite0.json"))?)?)
    };
    read().unwrap_or_else(|e| panic!("lite0: {e}"))
}
