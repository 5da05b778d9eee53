//! The pictures that `gradcam explain` draws.

use std::fs;

use gradcam::image::{Limits, Photo};
use testkit::Suite;

use crate::results::{done, prepared};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        pictures_of_the_input_have_its_size,
        pictures_are_drawn_as_the_flags_say,
    );
}

/// A tensor has no photo, and a photo of another shape is shown as the network saw it.
fn pictures_of_the_input_have_its_size() {
    let (folder, _) = prepared();
    let args =
        ["explain", "x.npy", "a.png", "-m", "m.onnx", "--preset", "imagenet", "--target", "1"];
    let ran = folder.gradcam(&[&args[..], &["--method", "guided-backprop", "-o", "out"]].concat());
    done(&ran);
    assert_eq!(folder.list("out"), ["a.1.png", "x.0.1.png", "x.1.1.png"]);
    for name in folder.list("out") {
        let picture = Photo::open(folder.path(&format!("out/{name}")), &Limits::default());
        let picture = picture.expect("a PNG");
        assert_eq!((picture.width(), picture.height()), (8, 8), "{name}");
    }
}

fn pictures_are_drawn_as_the_flags_say() {
    let (folder, _) = prepared();
    let draw = |image: &str, flags: &[&str]| {
        let args =
            ["explain", image, "-m", "m.onnx", "--preset", "imagenet", "--target", "1", "-q"];
        let ran = folder.gradcam(&[&args[..], &["-o", "out/"], flags].concat());
        done(&ran);
        let name = folder.list("out").pop().expect("a picture");
        let picture = Photo::open(folder.path(&format!("out/{name}")), &Limits::default());
        fs::remove_dir_all(folder.path("out")).expect("a folder");
        picture.expect("a PNG")
    };
    let usual = draw("a.png", &[]);
    let rows: [(&[&str], (u32, u32)); 6] = [
        (&["--contours"], (9, 12)),
        (&["--cutout"], (9, 12)),
        (&["--transparent"], (9, 12)),
        (&["--transparent", "--picture-size", "network"], (8, 8)),
        (&["--contours", "--picture-size", "network", "--max-side", "4"], (4, 4)),
        (&["--colorbar"], (9 + 23, 12)),
    ];
    for (flags, size) in rows {
        let drawn = draw("a.png", flags);
        assert_eq!((drawn.width(), drawn.height()), size, "{flags:?}");
        assert_eq!(drawn.alpha().is_some(), flags.contains(&"--transparent"), "{flags:?}");
        assert_ne!(drawn.rgb(), usual.rgb(), "{flags:?}");
    }
    // Of a tensor there is the heatmap alone.
    let drawn = draw("x.npy", &["--transparent"]);
    assert_eq!((drawn.width(), drawn.height(), drawn.alpha().is_some()), (8, 8, true));
}
