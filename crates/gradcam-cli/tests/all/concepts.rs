//! What `gradcam concepts` writes.

use std::io::Cursor;

use gradcam::{
    image::{Limits, Photo},
    ndarray::{ArrayD, Axis},
};
use ndarray_npy::ReadNpyExt;
use serde_json::Value;
use testkit::Suite;

use crate::{
    results::{asset, done, prepared},
    run::Folder,
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        files_hold_maps_of_each_concept,
        photos_share_their_concepts,
        tensors_share_their_concepts_within_one_file,
        the_legend_is_beside_the_picture,
        standard_output_takes_one_file,
        concepts_of_the_built_in_model_are_cat_and_cup,
        photos_beyond_the_memory_limit_are_refused,
        no_file_is_written_where_an_image_fails,
    );
}

/// The small model, the preprocessing said.
const MODEL: [&str; 7] = ["-m", "m.onnx", "--preset", "imagenet", "--layer", "act", "--components"];

fn concepts(folder: &Folder, args: &[&str], components: &str) -> String {
    let ran = folder.gradcam(&[&["concepts"], args, &MODEL[..], &[components]].concat());
    done(&ran);
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn array(folder: &Folder, name: &str) -> ArrayD<f32> {
    ArrayD::read_npy(Cursor::new(folder.read(name))).expect(name)
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn shares(value: &Value) -> Vec<f64> {
    let components = value["components"].as_array().expect("components");
    components.iter().map(|one| one["share"].as_f64().expect("a share")).collect()
}

fn files_hold_maps_of_each_concept() {
    let (folder, _) = prepared();
    let said = concepts(&folder, &["a.png", "-o", "o/", "--format", "png,npy,json"], "3");
    let names = ["heatmap.npy", "json", "png", "raw.npy"].map(|end| format!("a.concepts.{end}"));
    assert_eq!(folder.list("o"), names);
    assert!(names.iter().all(|name| said.contains(&format!("wrote o/{name}"))), "{said}");
    let raw = array(&folder, "o/a.concepts.raw.npy");
    let heatmap = array(&folder, "o/a.concepts.heatmap.npy");
    assert_eq!((raw.shape()[0], heatmap.shape()), (3, &[3, 8, 8][..]));
    for map in raw.outer_iter().chain(heatmap.outer_iter()) {
        assert!(map.iter().all(|value| (0.0..=1.0).contains(value)), "{map}");
    }
    // The largest entry of each raw map, of all images, is 1.
    assert!(raw.outer_iter().all(|map| map.iter().any(|value| *value == 1.0)));
    let line = json(&folder.read("o/a.concepts.json"));
    assert_eq!((&line["method"], &line["layer"]), (&"dff".into(), &"act".into()));
    assert!((shares(&line).iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(shares(&line).is_sorted_by(|a, b| a >= b));
    for component in line["components"].as_array().expect("components") {
        assert_eq!(component["classes"].as_array().map(Vec::len), Some(2));
        assert_eq!(component["color"].as_array().map(Vec::len), Some(3));
    }
}

/// The factors of two photos are other ones than those of each; the classes are the same in both.
fn photos_share_their_concepts() {
    let (folder, _) = prepared();
    let lines = |images: &[&str]| -> Vec<Value> {
        let said = concepts(&folder, &[images, &["--json", "-o", "o/"]].concat(), "2");
        said.lines().map(|line| json(line.as_bytes())).collect()
    };
    let both = lines(&["a.png", "b.png"]);
    assert_eq!(both.len(), 2);
    assert_eq!(folder.list("o"), ["a.concepts.png", "b.concepts.png"]);
    let of = |line: &Value, at: usize| line["components"][at]["classes"].clone();
    for at in 0..2 {
        assert_eq!(of(&both[0], at), of(&both[1], at));
    }
    assert_eq!(both[0]["error"], both[1]["error"]);
    assert_ne!(shares(&both[0]), shares(&both[1]));
    assert_ne!(both[0]["error"], lines(&["a.png"])[0]["error"]);
}

fn tensors_share_their_concepts_within_one_file() {
    let (folder, _) = prepared();
    let said = concepts(&folder, &["x.npy", "-o", "o/", "--format", "npy,png"], "2");
    assert!(said.contains("x.npy [0]") && said.contains("x.npy [1]"), "{said}");
    let maps = |at: usize| array(&folder, &format!("o/x.{at}.concepts.heatmap.npy"));
    assert_eq!(maps(0).shape(), [2, 8, 8]);
    assert_ne!(maps(0), maps(1));
    let picture = folder.read("o/x.0.concepts.png");
    let picture = Photo::decode(&picture, &Limits::default()).expect("a picture");
    assert!(picture.width() > 8 && picture.height() >= 8);
    let args = ["concepts", "x.npy", "a.png"];
    let ran = folder.gradcam(&[&args[..], &MODEL, &["2"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("tensors share their concepts within one file"), "{}", ran.stderr);
}

/// The picture without the legend is that of the library; the swatches have the colors of the concepts.
fn the_legend_is_beside_the_picture() {
    let (folder, _) = prepared();
    for (labels, components) in [(None, "2"), (Some("l.txt"), "4")] {
        folder.write("l.txt", "a\nb\nLong-eared owl, Asio otus\nx < y & z\nBubo\n");
        let labels = labels.map_or_else(Vec::new, |file| vec!["--labels", file]);
        concepts(
            &folder,
            &[&["a.png", "-o", "o/", "--format", "png,json"], &labels[..]].concat(),
            components,
        );
        let picture = folder.read("o/a.concepts.png");
        let picture = Photo::decode(&picture, &Limits::default()).expect("a picture");
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        assert!(width > 9 && height >= 12);
        let pixels: Vec<&[u8]> = picture.rgb().chunks_exact(3).collect();
        let of_legend = |at: &usize| at % width >= 9;
        let line = json(&folder.read("o/a.concepts.json"));
        for component in line["components"].as_array().expect("components") {
            let color: Vec<u8> = component["color"]
                .as_array()
                .expect("a color")
                .iter()
                .map(|value| {
                    value.as_u64().and_then(|value| value.try_into().ok()).expect("a byte")
                })
                .collect();
            let swatch = (0..pixels.len()).filter(of_legend).filter(|at| pixels[*at] == color);
            assert!(swatch.count() >= 100, "{color:?}");
        }
        let is_dark = |pixel: &[u8]| pixel[0] < 128 && pixel[0] == pixel[1] && pixel[0] == pixel[2];
        let dark = (0..pixels.len()).filter(of_legend).filter(|at| is_dark(pixels[*at]));
        assert!(dark.count() > 20, "letters");
    }
}

fn standard_output_takes_one_file() {
    let (folder, _) = prepared();
    let args = ["concepts", "a.png", "-o", "-"];
    let ran = folder.gradcam(&[&args[..], &MODEL, &["2"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(Photo::decode(&ran.stdout, &Limits::default()).is_ok());
    assert!(ran.stderr.contains("concepts of act"), "{}", ran.stderr);
    let quiet = folder.gradcam(&[&args[..2], &MODEL, &["2", "-q", "-o", "q.png"]].concat());
    done(&quiet);
    assert!(quiet.stdout.is_empty() && !folder.read("q.png").is_empty());
}

/// The photo has a cat above and a cup below. A concept of each has the largest share, and lies there.
fn concepts_of_the_built_in_model_are_cat_and_cup() {
    let folder = Folder::new();
    let photo = asset("cat_over_coffee.png");
    let ran = folder.gradcam(&["concepts", &photo, "--json", "--format", "npy", "-o", "o/"]);
    done(&ran);
    let line = json(&ran.stdout);
    let best = |at: usize| line["components"][at]["classes"][0]["label"].clone();
    assert_eq!((best(0), best(1)), ("Egyptian cat".into(), "espresso".into()));
    let maps = folder.read("o/cat_over_coffee.concepts.raw.npy");
    let maps: ArrayD<f32> = ArrayD::read_npy(Cursor::new(maps)).expect("maps");
    assert_eq!(maps.shape(), [5, 7, 7]);
    let row = |at: usize| {
        let map = maps.index_axis(Axis(0), at);
        let of_rows = map.outer_iter().enumerate().map(|(row, line)| row as f32 * line.sum());
        of_rows.sum::<f32>() / map.sum()
    };
    assert!(row(0) < 2.5 && row(1) > 3.5, "{} and {}", row(0), row(1));
}

fn photos_beyond_the_memory_limit_are_refused() {
    let (folder, _) = prepared();
    let args = ["concepts", "a.png", "b.png", "--max-memory", "3kB"];
    let ran = folder.gradcam(&[&args[..], &MODEL, &["2"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("--max-memory"), "{}", ran.stderr);
}

fn no_file_is_written_where_an_image_fails() {
    let (folder, _) = prepared();
    folder.write("bad.png", b"no picture");
    let args = ["concepts", "a.png", "bad.png", "-o", "o/"];
    let ran = folder.gradcam(&[&args[..], &MODEL, &["2"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("bad.png"), "{}", ran.stderr);
    assert!(folder.list("o").is_empty());
}
