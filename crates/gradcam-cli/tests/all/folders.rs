//! Images by folders, patterns and lists, by the real binary.

use std::fs;

use gradcam::image::Photo;
use testkit::Suite;

use crate::{models::classifier, results::done, run::Folder};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        every_way_to_name_images,
        files_of_one_name_are_no_clash,
        an_earlier_result_is_no_photo,
        what_fails_is_said_in_its_place,
        many_images_get_a_line_each,
        large_photos_give_small_pictures,
    );
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let rgb = (0..width * height * 3).map(|place| (place * 7 % 251) as u8).collect();
    Photo::from_rgb8(width, height, rgb).expect("a photo").to_png().expect("a picture")
}

/// A folder `photos` with folders in it.
fn prepared() -> Folder {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    for sub in ["photos/b/deep", "photos/a", "photos/.hidden", "other"] {
        fs::create_dir_all(folder.path(sub)).expect("a folder");
    }
    for name in [
        "photos/b/deep/cat.png",
        "photos/a/cat.png",
        "photos/z.PNG",
        "photos/.hidden/x.png",
        "other/cat.png",
    ] {
        folder.write(name, png(9, 9));
    }
    folder.write("photos/readme.txt", "not a picture, and not an image of the run");
    folder.write("list.txt", "photos/z.PNG\r\n\nphotos/a\n");
    folder
}

/// The images in the order of the run, and the files below `out`.
fn explain(folder: &Folder, args: &[&str]) -> (Vec<String>, Vec<String>) {
    let _ = fs::remove_dir_all(folder.path("out"));
    let fixed = [
        "explain", "-m", "m.onnx", "--preset", "imagenet", "--json", "-o", "out/", "--target", "1",
    ];
    let ran = folder.gradcam(&[&fixed[..], args].concat());
    done(&ran);
    let image = |value: serde_json::Value| value["image"].as_str().expect("a name").to_owned();
    (crate::results::lines(&ran).into_iter().map(image).collect(), below(folder, "out"))
}

/// The files below a folder, sorted.
fn below(folder: &Folder, name: &str) -> Vec<String> {
    let each = folder.list(name).into_iter().flat_map(|entry| {
        let path = format!("{name}/{entry}");
        if folder.path(&path).is_dir() { below(folder, &path) } else { vec![path] }
    });
    each.collect()
}

fn every_way_to_name_images() {
    let folder = prepared();
    let all = ["photos/a/cat.png", "photos/b/deep/cat.png", "photos/z.PNG"];
    let kept = ["out/a/cat.1.png", "out/b/deep/cat.1.png", "out/z.1.png"];
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        (&["photos"], &all, &kept),
        (&["photos/"], &all, &kept),
        (&["photos/a"], &all[..1], &["out/cat.1.png"]),
        // Each image once.
        (&["photos", "photos/z.PNG"], &all, &kept),
        (&["photos/**/cat.png"], &all[..2], &kept[..2]),
        (&["photos/?/*.png"], &all[..1], &kept[..1]),
        (&["@list.txt"], &[all[2], all[0]], &["out/cat.1.png", "out/z.1.png"]),
    ];
    for (args, images, files) in rows {
        let (explained, written) = explain(&folder, args);
        assert_eq!(
            (explained, written),
            (
                images.iter().map(ToString::to_string).collect(),
                files.iter().map(ToString::to_string).collect()
            ),
            "{args:?}"
        );
    }
    let ran = folder.gradcam_with(
        &["explain", "@-", "-m", "m.onnx", "--preset", "imagenet", "-q", "-o", "out/"],
        b"photos/z.PNG\n",
    );
    done(&ran);
}

fn files_of_one_name_are_no_clash() {
    let folder = prepared();
    folder.write("other/cat.bmp", png(9, 9));
    let (_, written) = explain(&folder, &["photos/a/cat.png", "other/cat.png"]);
    assert_eq!(written, ["out/other/cat.1.png", "out/photos/a/cat.1.png"]);
    let (_, written) = explain(&folder, &["other"]);
    assert_eq!(written, ["out/cat.bmp.1.png", "out/cat.png.1.png"]);
}

fn an_earlier_result_is_no_photo() {
    let folder = prepared();
    let args =
        ["explain", "photos", "-m", "m.onnx", "--preset", "imagenet", "-q", "-o", "photos/maps/"];
    for _ in 0..2 {
        done(&folder.gradcam(&args));
        assert_eq!(below(&folder, "photos/maps").len(), 3);
    }
}

fn what_fails_is_said_in_its_place() {
    let folder = prepared();
    folder.write("photos/a/broken.png", "no picture");
    let ran = folder.gradcam(&[
        "explain", "photos", "nix.png", "-m", "m.onnx", "--preset", "imagenet", "-o", "out/",
    ]);
    assert_eq!(ran.code, Some(1));
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said[0].contains("photos/a/broken.png: not a JPEG"), "{said:?}");
    assert!(said[1].contains("nix.png: cannot be read"), "{said:?}");
    assert_eq!((said.len(), below(&folder, "out").len()), (2, 3));
}

fn many_images_get_a_line_each() {
    let folder = prepared();
    let args = [
        "explain", "photos", "-m", "m.onnx", "--preset", "imagenet", "-o", "out/", "--target",
        "top:2",
    ];
    let ran = folder.gradcam(&args);
    done(&ran);
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("warning: ")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("photos/a/cat.png  ") && lines[0].contains(" %, "), "{text}");
    assert!(lines[0].contains("  wrote out/a/cat.") && lines[0].ends_with(" and 1 more"), "{text}");
    // With more words it is the block of a single image.
    let ran = folder.gradcam(&[&args[..], &["--verbose"]].concat());
    assert!(String::from_utf8_lossy(&ran.stdout).matches("  target ").count() == 6);
}

fn large_photos_give_small_pictures() {
    let folder = prepared();
    folder.write("large.png", png(5000, 50));
    for (flags, size) in [
        (&[][..], (4096, 41)),
        (&["--max-side", "500"], (500, 5)),
        (&["--max-side", "5000"], (5000, 50)),
    ] {
        let (_, written) = explain(&folder, &[&["large.png"], flags].concat());
        let photo = Photo::decode(&folder.read(&written[0]), &gradcam::image::Limits::default());
        let photo = photo.expect("a picture");
        assert_eq!((photo.width(), photo.height()), size, "{flags:?}");
    }
}
