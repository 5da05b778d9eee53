//! The one way in: photos or tensors, one or many, for shared targets or one each; and the graph that it runs.

use gradcam::{
    ErrorKind, Explainer, Explanation, Hint, Images, Model, OutputMeaning, Target, TargetSpec,
    Targets,
    engine::{self, EngineKind, EngineOptions, Tensor, TensorView},
    image::Photo,
};
use ndarray::{Array1, Array4, ArrayD, Axis};
use onnx_grad::{
    MemoryFiles,
    proto::{StringStringEntryProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::{
    Suite,
    build::{self, f32s, ints, node, weights},
};

use crate::common;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        photos_of_several_sizes_are_explained_in_their_order,
        a_tensor_and_its_photo_have_the_same_map,
        targets_are_shared_or_one_for_each_image,
        an_overlay_of_a_tensor_is_over_all_of_the_photo,
        an_explainer_with_another_input_leaves_the_first_as_it_is,
        the_graph_that_is_run_is_a_model,
        hints_are_apart_from_messages,
        a_model_in_memory_has_its_labels_beside_it,
    );
}

/// x [N, 3, H, W] → f = Relu(Conv) → the mean over space → y [N, 4]; photos go in as they are, divided by 255.
fn model() -> Model {
    let nodes = vec![
        node("Conv", &["x", "v"], &["c"], vec![ints("pads", &[1; 4])]),
        node("Relu", &["c"], &["f"], vec![]),
        node("GlobalAveragePool", &["f"], &["p"], vec![]),
        node("Flatten", &["p"], &["t"], vec![]),
        node("Gemm", &["t", "k"], &["y"], vec![]),
    ];
    let inputs = [("x", DataType::Float, &[-1, 3, -1, -1][..])];
    let constants = vec![weights("v", &[5, 3, 3, 3]), weights("k", &[5, 4])];
    let mut proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    proto.metadata_props.push(StringStringEntryProto {
        key: Some("gradcam.preprocess".to_owned()),
        value: Some(
            r#"{"do_resize": false, "do_center_crop": false, "do_normalize": false}"#.to_owned(),
        ),
    });
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

fn explainer() -> Explainer {
    Explainer::builder(model()).build().expect("an explainer")
}

fn photo(width: u32, height: u32) -> Photo {
    let levels = (0..3 * width * height).map(|place| (place * 37 % 251) as u8).collect();
    Photo::from_rgb8(width, height, levels).expect("a photo")
}

fn bits(explanation: &Explanation) -> Vec<u32> {
    explanation.layers[0].map.iter().map(|value| value.to_bits()).collect()
}

fn photos_of_several_sizes_are_explained_in_their_order() {
    let explainer = explainer();
    let sizes = [(8, 6), (8, 6), (4, 10), (8, 6)];
    let photos: Vec<Photo> = sizes.iter().map(|(w, h)| photo(*w, *h)).collect();
    let targets = [TargetSpec::Top(2), TargetSpec::One(Target::Class(3))];
    let all = explainer.explain(&photos, targets.clone()).expect("explanations");
    assert_eq!(all.len(), 4);
    for ((photo, (width, height)), explanations) in photos.iter().zip(sizes).zip(&all) {
        let alone = explainer.explain(photo, targets.clone()).expect("explanations").remove(0);
        assert_eq!(explanations.len(), 3, "two best classes and one that was named");
        for (got, want) in explanations.iter().zip(&alone) {
            assert_eq!(got.input_size, [height as usize, width as usize]);
            assert_eq!((got.class.index, bits(got)), (want.class.index, bits(want)));
            let placement = got.placement.expect("the part of a photo");
            assert_eq!((placement.network_width, placement.network_height), (width, height));
        }
    }
}

fn a_tensor_and_its_photo_have_the_same_map() {
    let explainer = explainer();
    let photo = photo(7, 5);
    let (x, _) = explainer.prepare(&photo).expect("an input");
    let of_photo = explainer.explain(&photo, Target::Class(2)).expect("an explanation");
    for images in [Images::from(&x), Images::from(x.view()), Images::Tensor(x.view().into_dyn())] {
        let of_tensor = explainer.explain(images, Target::Class(2)).expect("an explanation");
        assert_eq!(bits(&of_tensor[0][0]), bits(&of_photo[0][0]));
        assert_eq!(of_tensor[0][0].placement, None);
    }
}

fn targets_are_shared_or_one_for_each_image() {
    let explainer = explainer();
    let (one, other) = (photo(6, 6), photo(5, 9));
    let photos = vec![&one, &other];
    let targets = Targets::each([Target::Class(1), Target::Class(3)]);
    let each = explainer.explain(photos.clone(), targets).expect("explanations");
    let classes: Vec<Vec<usize>> =
        each.iter().map(|of_image| of_image.iter().map(|e| e.class.index).collect()).collect();
    assert_eq!(classes, [[1], [3]]);
    let shared = explainer.explain(photos.clone(), Target::Class(3)).expect("explanations");
    assert_eq!(bits(&shared[1][0]), bits(&each[1][0]));
    let error = explainer.explain(photos, Targets::each([Target::Argmax])).expect_err("one target");
    assert_eq!(error.kind(), ErrorKind::Target);
    assert_eq!(
        error.to_string(),
        "the number of targets is 1, that of the images 2; give one target for each image"
    );
}

fn an_overlay_of_a_tensor_is_over_all_of_the_photo() {
    let explainer = explainer();
    let photo = photo(12, 8);
    let (x, placement) = explainer.prepare(&photo).expect("an input");
    let mut explanation =
        explainer.explain(&x, Target::Class(0)).expect("an explanation").remove(0).remove(0);
    let style = Default::default();
    let over_all = explanation.overlay(0, &photo, &style).expect("an overlay");
    explanation.placement = Some(placement);
    assert_eq!(over_all.rgb(), explanation.overlay(0, &photo, &style).expect("an overlay").rgb());
}

/// Clones may go to other threads.
fn an_explainer_with_another_input_leaves_the_first_as_it_is() {
    fn shared<T: Clone + Send + Sync>(_: &T) {}
    let nodes = vec![
        node("Conv", &["x", "v"], &["c"], vec![]),
        node("Mul", &["c", "s"], &["f"], vec![]),
        node("GlobalAveragePool", &["f"], &["p"], vec![]),
        node("Flatten", &["p"], &["y"], vec![]),
    ];
    let inputs =
        [("x", DataType::Float, &[1, 3, 4, 4][..]), ("s", DataType::Float, &[1, 1, 1, 1][..])];
    let constants = vec![weights("v", &[2, 3, 1, 1])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let scale = |scale: f32| ArrayD::from_elem(vec![1, 1, 1, 1], scale);
    let explainer = Explainer::builder(model).input("s", scale(1.0)).build().expect("an explainer");
    let other = explainer.with_input("s", scale(2.0)).expect("another value");
    let x = Array4::from_shape_fn((1, 3, 4, 4), |(_, c, y, x)| (c + 2 * y + x) as f32);
    let [one, two] = [&explainer, &other].map(|explainer| {
        explainer.explain(&x, Target::Class(1)).expect("an explanation").remove(0).remove(0)
    });
    shared(&explainer);
    shared(&one);
    let doubled: Vec<f32> = one.scores.iter().map(|score| 2.0 * score).collect();
    assert_eq!(two.scores[..], doubled[..]);
}

/// Any engine may run it: here one runs it that was given the model alone.
fn the_graph_that_is_run_is_a_model() {
    let x = Array4::from_shape_fn((2, 3, 6, 5), |(n, c, y, x)| {
        ((n * 31 + c * 7 + y * 3 + x) % 11) as f32 / 5.0 - 1.0
    });
    for kind in EngineKind::ALL {
        let builder = Explainer::builder(model()).engine(kind).library_places(common::library());
        let methods = ["gradcam", "layercam"].map(|id| id.parse().expect("a method"));
        let explainer = builder.methods(methods).build().expect("an explainer");
        let targets = [Target::Class(1), Target::Difference(0, 2)];
        let written = explainer.differentiate(x.shape(), &targets).expect("a model");
        let mut options = EngineOptions::default();
        options.library = common::library();
        let session = engine::engine(kind, &options)
            .expect("an engine")
            .compile(&written.model)
            .expect("a session");
        let classes = [("gradcam.class.0", 1), ("gradcam.class.1", 0), ("gradcam.other.1", 2)]
            .map(|(name, class)| (name, Array1::from_elem(2, class).into_dyn()));
        let mut inputs = vec![("x", TensorView::from(x.view().into_dyn()))];
        inputs.extend(classes.iter().map(|(name, class)| (*name, class.view().into())));
        let names: Vec<String> = written.outputs.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let made = session.run(&inputs, &names).expect("outputs");
        let specs = targets.clone().map(TargetSpec::One);
        let explained = explainer.explain(&x, specs).expect("explanations");
        let mut maps = 0;
        for (meaning, tensor) in written.outputs.iter().zip(&made) {
            let (OutputMeaning::Map(place), Tensor::F32(map)) = (meaning, tensor) else { continue };
            maps += 1;
            for (item, explanations) in explained.iter().enumerate() {
                let explanation = &explanations[place.method * targets.len() + place.target];
                let want = &explanation.layers[place.layer].map;
                assert_eq!(map.index_axis(Axis(0), item), want.view(), "{kind}: {meaning}");
            }
        }
        assert_eq!(maps, 4, "two targets and two methods");
        assert!(written.outputs.contains(&OutputMeaning::Scores));
    }
    let passes = Explainer::builder(model()).method("scorecam".parse().expect("a method"));
    let error = passes.build().expect("an explainer").differentiate(x.shape(), &[Target::Argmax]);
    assert_eq!(error.expect_err("no graph").kind(), ErrorKind::Method);
}

fn hints_are_apart_from_messages() {
    let nodes = vec![node("Gemm", &["x", "k"], &["y"], vec![])];
    let inputs = [("x", DataType::Float, &[1, 4][..])];
    let constants = vec![f32s("k", &[4, 2], &[0.5; 8])];
    let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
    let model = Model::from_bytes(proto.encode_to_vec()).expect("a model");
    let error = Explainer::builder(model).build().expect_err("no feature map");
    assert_eq!(error.hint(), Some(Hint::NameLayer));
    assert_eq!(error.to_string(), format!("{}; {}", error.message(), Hint::NameLayer));
}

fn a_model_in_memory_has_its_labels_beside_it() {
    let bytes = model().to_bytes().expect("bytes");
    let with = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec()));
        let files = files.chain([("some/net.onnx", bytes.clone())]).collect::<MemoryFiles>();
        let model = Model::open_in(files, "some/net.onnx").expect("a model");
        Explainer::builder(model).build()
    };
    let top = |explainer: &Explainer| {
        let found = explainer.explain(&photo(9, 7), Target::Argmax).expect("explained");
        found[0][0].class.label.clone()
    };
    assert_eq!(top(&with(&[]).expect("an explainer")), None);
    let labels = ("some/labels.txt", "one\ntwo\nthree\nfour\n");
    let named = with(&[labels]).expect("an explainer");
    assert!(["one", "two", "three", "four"].contains(&&*top(&named).expect("a label")));
    assert_eq!(
        top(&with(&[("labels.txt", labels.1)]).expect("an explainer")),
        None,
        "of another folder"
    );
    let torn = with(&[("some/config.json", "{")]).expect_err("malformed");
    assert!(torn.to_string().contains("some/config.json"), "{torn}");
}
