//! Maps of one picture in every layout that networks give it.

use gradcam::{
    Explainer, Explanation, Grid, Model, Target,
    engine::EngineKind,
    image::{Overrides, preprocess::Layout},
};
use ndarray::ArrayD;
use onnx_grad::proto::{NodeProto, TensorProto, tensor_proto::DataType};
use prost::Message;
use testkit::{
    Suite,
    build::{f32s, i64s, int, ints, model, node, text, weights},
};

use crate::common;
use crate::one_each::OneEach;

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        a_map_does_not_depend_on_the_layout,
        merged_patches_are_channels_and_shuffled_channels_are_positions,
        a_grid_that_the_graph_does_not_tell_is_given,
        the_users_layout_reaches_the_layers,
        the_shape_implies_the_layout_of_inputs_that_are_no_photos,
    );
}

const F32: DataType = DataType::Float;

/// x [2, 3, 8, 12] → Conv → a [2, 4, 8, 12] → the given nodes → b, with as many elements → linear.
fn network(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Model {
    let first = vec![
        node("Conv", &["x", "stem"], &["conv"], vec![ints("kernel_shape", &[1, 1])]),
        node("Relu", &["conv"], &["a"], vec![]),
    ];
    let last = vec![
        node("Reshape", &["b", "rows"], &["flat"], vec![]),
        node("Gemm", &["flat", "head"], &["y"], vec![int("transB", 1)]),
    ];
    let own = vec![
        weights("stem", &[4, 3, 1, 1]),
        weights("head", &[5, 384]),
        i64s("rows", &[2], &[2, 384]),
    ];
    let constants = [own, constants].concat();
    let nodes = [first, nodes, last].concat();
    let proto = model(17, &[("x", F32, &[2, 3, 8, 12])], &[("y", F32)], constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

fn reshape(from: &str, to: &'static str, sizes: &[i64]) -> (NodeProto, TensorProto) {
    let name = format!("{to}.shape");
    let shape = i64s(&name, &[i64::try_from(sizes.len()).expect("few")], sizes);
    (node("Reshape", &[from, &name], &[to], vec![]), shape)
}

fn explained(
    model: &Model,
    kind: EngineKind,
    method: &str,
    layer: &str,
    grid: Grid,
) -> gradcam::Result<Vec<Explanation>> {
    let builder = Explainer::builder(model.clone()).layer(layer).grid(grid).engine(kind);
    let builder = builder.library_places(common::library()).method(method.parse()?);
    let x = ArrayD::from_shape_fn(vec![2, 3, 8, 12], |at| {
        ((at[0] * 31 + at[1] * 17 + at[2] * 7 + at[3] * 3) % 23) as f32 / 11.0 - 0.9
    });
    builder.build()?.explain_one_each(x.view(), &[Target::Class(1), Target::Class(4)])
}

fn a_map_does_not_depend_on_the_layout() {
    let (to_windows, s1) = reshape("nhwc", "split", &[2, 2, 4, 3, 4, 4]);
    let (to_rows, s2) = reshape("dealt", "windows", &[12, 16, 4]);
    let (from_rows, s3) = reshape("inside", "apart", &[2, 2, 3, 4, 4, 4]);
    let (to_tokens, s4) = reshape("put", "tokens", &[2, 96, 4]);
    let (to_map, s5) = reshape("turned", "b", &[2, 4, 8, 12]);
    let deal = || vec![ints("perm", &[0, 1, 3, 2, 4, 5])];
    let nodes = vec![
        node("Transpose", &["a"], &["nhwc"], vec![ints("perm", &[0, 2, 3, 1])]),
        to_windows,
        node("Transpose", &["split"], &["dealt"], deal()),
        to_rows,
        node("Identity", &["windows"], &["inside"], vec![]),
        from_rows,
        node("Transpose", &["apart"], &["put"], deal()),
        to_tokens,
        // A class token in front and two registers behind.
        node("Concat", &["class", "tokens", "registers"], &["more"], vec![int("axis", 1)]),
        node("Slice", &["more", "one", "front", "one"], &["picture"], vec![]),
        node("Transpose", &["picture"], &["turned"], vec![ints("perm", &[0, 2, 1])]),
        to_map,
    ];
    let constants = vec![
        s1,
        s2,
        s3,
        s4,
        s5,
        f32s("class", &[2, 1, 4], &[0.5; 8]),
        f32s("registers", &[2, 2, 4], &[0.25; 16]),
        i64s("one", &[1], &[1]),
        i64s("front", &[1], &[97]),
    ];
    let model = network(nodes, constants);
    for kind in EngineKind::ALL {
        for method in ["gradcam", "hirescam", "layercam"] {
            let of =
                |layer: &str| explained(&model, kind, method, layer, Grid::default()).expect(layer);
            let plain = of("a");
            for layer in ["nhwc", "split", "dealt", "windows", "inside", "tokens", "more", "turned"]
            {
                for (got, want) in of(layer).iter().zip(&plain) {
                    let (got, want) = (&got.layers[0], &want.layers[0]);
                    assert_eq!(got.map.shape(), [8, 12], "{layer}");
                    let largest = want.map.iter().fold(0f32, |most, v| most.max(v.abs()));
                    let apart = (&got.map - &want.map).fold(0f32, |most, v| most.max(v.abs()));
                    // The sums are the same numbers in another order.
                    assert!(apart <= 2e-6 * largest, "{method} at {layer} on {kind}: {apart:e}");
                    let pairs = got.weights.iter().zip(want.weights.iter());
                    let apart = pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(apart <= 2e-6, "weights at {layer} on {kind}: {apart:e}");
                }
            }
        }
    }
}

fn merged_patches_are_channels_and_shuffled_channels_are_positions() {
    let (apart, s1) = reshape("nhwc", "apart", &[2, 4, 2, 6, 2, 4]);
    let (merge, s2) = reshape("patches", "merged", &[2, 4, 6, 16]);
    let (split, s3) = reshape("back", "split", &[2, 1, 2, 2, 8, 12]);
    let (shuffle, s4) = reshape("mixed", "shuffled", &[2, 1, 16, 24]);
    let (to_map, s5) = reshape("merged", "back", &[2, 4, 8, 12]);
    let (end, s6) = reshape("shuffled", "b", &[2, 4, 8, 12]);
    let nodes = vec![
        node("Transpose", &["a"], &["nhwc"], vec![ints("perm", &[0, 2, 3, 1])]),
        apart,
        node("Transpose", &["apart"], &["patches"], vec![ints("perm", &[0, 1, 3, 4, 2, 5])]),
        merge,
        to_map,
        // What a convolution would do: [N, C, H, W] from here on.
        node("MaxPool", &["back"], &["pool"], vec![ints("kernel_shape", &[1, 1])]),
        node("Identity", &["pool"], &["same"], vec![]),
        NodeProto { input: vec!["same".to_owned(), "split.shape".to_owned()], ..split },
        node("Transpose", &["split"], &["mixed"], vec![ints("perm", &[0, 1, 4, 2, 5, 3])]),
        shuffle,
        end,
    ];
    let model = network(nodes, vec![s1, s2, s3, s4, s5, s6]);
    for (layer, size) in [("merged", [4, 6]), ("pool", [8, 12]), ("shuffled", [16, 24])] {
        let maps = explained(&model, EngineKind::Rten, "gradcam", layer, Grid::default());
        let maps = maps.expect(layer);
        assert_eq!(maps[0].layers[0].map.shape(), size, "{layer}");
    }
}

fn a_grid_that_the_graph_does_not_tell_is_given() {
    let (flat, s1) = reshape("a", "flat.a", &[2, 4, 96]);
    let (to_map, s2) = reshape("tokens", "b", &[2, 96, 4]);
    let nodes = vec![
        flat,
        node("Einsum", &["flat.a"], &["tokens"], vec![text("equation", "nct->ntc")]),
        to_map,
    ];
    let model = network(nodes, vec![s1, s2]);
    let with = |size, prefix| {
        let grid = Grid { size, prefix };
        let explainer = Explainer::builder(model.clone()).layer("tokens").grid(grid).build();
        explainer.map(|explainer| explainer.layers().count()).map_err(|error| error.to_string())
    };
    // 96 is no square.
    let message = with(None, None).expect_err("no grid");
    assert!(
        message.contains("[2, 96, 4]") && message.contains("ExplainerBuilder::grid"),
        "{message}"
    );
    assert_eq!(with(Some((8, 12)), None), Ok(1));
    assert_eq!(with(Some((5, 19)), Some(1)), Ok(1));
    assert!(with(Some((10, 10)), None).is_err());
    assert!(with(Some((8, 12)), Some(1)).is_err());
}

/// x → Relu → a → Conv → c → pooling → linear. x is [N, H, W, C] or, with the same numbers, [N, C, H, W].
fn of_layout(layout: Layout, [channels, height, width]: [i64; 3]) -> Model {
    let (sizes, read) = match layout {
        Layout::Nchw => ([1, channels, height, width], "a"),
        Layout::Nhwc => ([1, height, width, channels], "t"),
    };
    let pads = || vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])];
    let mut nodes = vec![node("Relu", &["x"], &["a"], vec![])];
    if layout == Layout::Nhwc {
        nodes.push(node("Transpose", &["a"], &["t"], vec![ints("perm", &[0, 3, 1, 2])]));
    }
    nodes.extend([
        node("Conv", &[read, "w"], &["c"], pads()),
        node("Relu", &["c"], &["r"], vec![]),
        node("GlobalAveragePool", &["r"], &["p"], vec![]),
        node("Flatten", &["p"], &["f"], vec![]),
        node("Gemm", &["f", "head"], &["y"], vec![int("transB", 1)]),
    ]);
    let constants = vec![weights("w", &[4, channels, 3, 3]), weights("head", &[5, 4])];
    let proto = model(17, &[("x", F32, &sizes)], &[("y", F32)], constants, nodes);
    Model::from_bytes(proto.encode_to_vec()).expect("a model")
}

/// Compares the maps of a model [N, H, W, C] with those of the same model [N, C, H, W].
fn same_maps(sizes: [i64; 3], flag: Option<Layout>) {
    let side = |at: usize| usize::try_from(sizes[at]).expect("a size");
    let channels_first = ArrayD::from_shape_fn(vec![1, side(0), side(1), side(2)], |at| {
        ((at[1] * 31 + at[2] * 17 + at[3] * 7) % 23) as f32 / 11.0 - 0.9
    });
    let channels_last = channels_first.clone().permuted_axes(vec![0, 2, 3, 1]);
    for method in ["gradcam", "hirescam", "scorecam"] {
        let explained = |layout, flag, x: &ArrayD<f32>| {
            let overrides = Overrides { layout: flag, imagenet: true, ..Overrides::default() };
            let builder = Explainer::builder(of_layout(layout, sizes)).preprocess(overrides);
            let builder = builder.layers(["a", "c"]).method(method.parse().expect(method));
            let explainer = builder.build().expect("an explainer");
            assert_eq!(explainer.image_input().channel_axis, Some(layout.channel_axis(4)));
            let mut all = explainer.explain_one_each(x.view(), &[Target::Class(1)]).expect(method);
            all.remove(0)
        };
        let want = explained(Layout::Nchw, Some(Layout::Nchw), &channels_first);
        let got = explained(Layout::Nhwc, flag, &channels_last);
        assert_eq!(got.input_size, [side(1), side(2)]);
        for (got, want) in got.layers.iter().zip(&want.layers) {
            assert_eq!(got.map.shape(), [side(1), side(2)], "{}", got.layer);
            let apart = (&got.map - &want.map).fold(0f32, |most, v| most.max(v.abs()));
            assert!(apart <= 2e-6, "{method} at {}: {apart:e}", got.layer);
        }
    }
}

/// The shapes [1, 3, 5, 3], [1, 8, 8, 8] and [1, 2, 9, 4] do not say that the last axis holds the channels.
fn the_users_layout_reaches_the_layers() {
    for sizes in [[3, 3, 5], [8, 8, 8], [4, 2, 9]] {
        same_maps(sizes, Some(Layout::Nhwc));
    }
}

/// [1, 6, 9, 4] and [1, 6, 9, 2] are no photos, but the channels can only be on the last axis.
fn the_shape_implies_the_layout_of_inputs_that_are_no_photos() {
    for channels in [2, 4] {
        same_maps([channels, 6, 9], None);
    }
}
