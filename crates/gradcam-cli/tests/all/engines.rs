//! Which engine the real binary takes, where, and what it says of it.

use std::fs;

use gradcam::image::Photo;
use serde_json::Value;
use testkit::Suite;

use crate::{models::classifier, run::Folder};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        the_engine_and_why,
        execution_providers,
        a_library_that_is_no_library_is_an_error_that_names_it,
    );
}

/// A folder with a small model and a photo, the library of ONNX Runtime, and a Python environment that
/// has its package.
fn prepared() -> (Folder, String, String) {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    let rgb = (0..9 * 12 * 3).map(|place| (place * 7 % 256) as u8).collect();
    let photo = Photo::from_rgb8(9, 12, rgb).expect("a photo");
    folder.write("a.png", photo.to_png().expect("a picture"));
    let library = testkit::onnxruntime();
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let capi = folder.path("venv/lib/python3.12/site-packages/onnxruntime/capi");
    fs::create_dir_all(&capi).expect("a folder");
    let name = library.file_name().expect("a file");
    fs::hard_link(&library, capi.join(name))
        .or_else(|_| fs::copy(&library, capi.join(name)).map(|_| ()))
        .expect("a copy of the library");
    let environment = text(&folder.path("venv"));
    (folder, text(&fs::canonicalize(library).expect("a file")), environment)
}

fn the_engine_and_why() {
    let (folder, library, environment) = prepared();
    let (library, environment) = (library.as_str(), environment.as_str());
    let path = ("ORT_DYLIB_PATH", library);
    let virtual_env = ("VIRTUAL_ENV", environment);
    let m = ["-m", "m.onnx", "--preset", "imagenet"];
    let asked = |engine| [&m[..], &["--engine", engine]].concat();
    type Row<'a> = (Vec<(&'a str, &'a str)>, Vec<&'a str>, &'a str, &'a str);
    let rows: Vec<Row<'_>> = vec![
        (vec![], m.to_vec(), "rten", "ORT_DYLIB_PATH is not set"),
        (vec![path], m.to_vec(), "onnxruntime", "ORT_DYLIB_PATH is set"),
        (vec![virtual_env], m.to_vec(), "onnxruntime", "virtual environment has the package"),
        (vec![("VIRTUAL_ENV", "/nowhere")], m.to_vec(), "rten", "ORT_DYLIB_PATH is not set"),
        (vec![("ORT_DYLIB_PATH", "")], m.to_vec(), "rten", "ORT_DYLIB_PATH is not set"),
        (vec![path, virtual_env], asked("auto"), "onnxruntime", "ORT_DYLIB_PATH is set"),
        (vec![path], asked("rten"), "rten", "--engine"),
        (vec![virtual_env], asked("onnxruntime"), "onnxruntime", "--engine"),
        (vec![path, virtual_env], vec![], "rten", "built-in"),
        (vec![("ORT_DYLIB_PATH", "/nowhere/lib.so")], vec![], "rten", "built-in"),
    ];
    for (variables, args, engine, why) in rows {
        let args = [&["explain", "a.png", "-o", "out/"], &args[..]].concat();
        let json = folder.gradcam_where(&variables, &[&args[..], &["--json"]].concat(), b"");
        assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""), "{variables:?} {args:?}");
        let value: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(value["engine"], engine, "{variables:?} {args:?}");
        let said = value["engine_why"].as_str().expect("a reason");
        assert!(said.contains(why), "{variables:?} {args:?}: {said}");
        let text = folder.gradcam_where(&variables, &[&args[..], &["--verbose"]].concat(), b"");
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains(&format!("engine {engine}  ({said})")), "{text}");
    }
}

/// An execution provider is one that is there, or an error that says which are.
fn execution_providers() {
    let (folder, library, _) = prepared();
    let variables = [("ORT_DYLIB_PATH", library.as_str())];
    let explain = |args: &[&str]| {
        let args = [&["explain", "a.png", "-m", "m.onnx", "-o", "out/"], args].concat();
        folder.gradcam_where(&variables, &args, b"")
    };
    // Even the built-in model goes where the provider is.
    for model in [&["-m", "m.onnx"][..], &[]] {
        let args = [&["explain", "a.png", "-o", "out/", "--provider", "cpu"], model].concat();
        let ran = folder.gradcam_where(&variables, &[&args[..], &["--json"]].concat(), b"");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let value: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!((&value["engine"], &value["provider"]), (&"onnxruntime".into(), &"cpu".into()));
        let ran = folder.gradcam_where(&variables, &[&args[..], &["-v"]].concat(), b"");
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(text.contains("provider cpu\n"), "{text}");
    }
    fs::remove_dir_all(folder.path("out")).expect("a folder");
    // No library has the providers of two vendors.
    let both = ["cuda", "migraphx"].map(|name| (name, explain(&["--provider", name])));
    let refused = both.iter().find(|(_, ran)| ran.code != Some(0)).expect("one is missing");
    let (name, ran) = refused;
    assert_eq!(ran.code, Some(1));
    for phrase in [&format!("no execution provider \"{name}\""), "it has: ", "cpu", &library] {
        assert!(ran.stderr.contains(phrase), "{phrase}: {}", ran.stderr);
    }
}

/// Whoever names a library does not get another, nor another engine.
fn a_library_that_is_no_library_is_an_error_that_names_it() {
    let (folder, _, environment) = prepared();
    folder.write("broken.so", "no library");
    for engine in ["auto", "onnxruntime"] {
        for path in ["/nowhere/libonnxruntime.so", "broken.so"] {
            let path = folder.path(path);
            let path = path.to_str().expect("UTF-8");
            let variables = [("ORT_DYLIB_PATH", path), ("VIRTUAL_ENV", environment.as_str())];
            let args = ["explain", "a.png", "-m", "m.onnx", "--engine", engine, "-o", "out/"];
            let ran = folder.gradcam_where(&variables, &args, b"");
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            for phrase in [path, "ORT_DYLIB_PATH", "choose the engine rten"] {
                assert!(ran.stderr.contains(phrase), "{phrase}: {}", ran.stderr);
            }
            assert!(folder.list("out").is_empty());
        }
    }
}
