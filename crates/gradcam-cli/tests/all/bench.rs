//! `gradcam bench`: one line for each engine and layer. No time is compared.

use serde_json::Value;
use testkit::Suite;

use crate::{
    models::{Net, classifier},
    run::{Folder, Ran},
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        one_line_for_each_engine_and_layer,
        sizes_and_threads_are_passed_on,
        the_table_has_one_head,
        mistakes_and_failures,
    );
}

fn bench(folder: &Folder, args: &[&str]) -> Ran {
    let library = testkit::onnxruntime();
    let variables = [("ORT_DYLIB_PATH", library.to_str().expect("UTF-8"))];
    folder.gradcam_where(&variables, &[&["bench", "--pairs", "2"], args].concat(), b"")
}

fn lines(ran: &Ran) -> Vec<Value> {
    let text = std::str::from_utf8(&ran.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn prepared() -> Folder {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    folder.write("open.onnx", Net::new(&[0, 3, 0, 0]).stem().head("act"));
    folder
}

fn one_line_for_each_engine_and_layer() {
    let folder = prepared();
    let several =
        ["--engine", "rten", "--engine", "onnxruntime", "--layer", "act", "--layer", "conv"];
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let rows: [Row<'_>; 4] = [
        (&["m.onnx"], &[("onnxruntime", "act")]),
        (&["m.onnx", "--engine", "rten", "--layer", "-1"], &[("rten", "act")]),
        (&[], &[("rten", "bn2")]),
        (
            &[&["m.onnx"], &several[..]].concat(),
            &[("rten", "act"), ("rten", "conv"), ("onnxruntime", "act"), ("onnxruntime", "conv")],
        ),
    ];
    for (args, wanted) in rows {
        let ran = bench(&folder, &[args, &["--json"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
        let lines = lines(&ran);
        let got: Vec<_> =
            lines.iter().map(|l| (l["engine"].as_str(), l["layer"].as_str())).collect();
        let wanted = wanted.iter().map(|(engine, layer)| (Some(*engine), Some(*layer)));
        assert_eq!(got, wanted.collect::<Vec<_>>(), "{args:?}");
        for line in &lines {
            for key in [
                "plain_ms",
                "explain_ms",
                "ratio",
                "ratio_iqr",
                "load_ms",
                "differentiate_ms",
                "compile_ms",
                "first_run_ms",
                "post_ms",
            ] {
                let number = line[key].as_f64();
                assert!(number.is_some_and(|n| n >= 0.0 && n.is_finite()), "{key}: {line}");
            }
            assert!(line["plain_ms"].as_f64() > Some(0.0), "{line}");
            let quartiles =
                [0, 1].map(|at| line["ratio_quartiles"][at].as_f64().expect("a number"));
            let iqr = line["ratio_iqr"].as_f64().expect("a number");
            assert!((quartiles[1] - quartiles[0] - iqr).abs() < 1e-3, "{line}");
            assert_eq!(line["pairs"], 2);
            assert!(line["engine_why"].is_string());
            assert_eq!(line["peak_mb"].is_number(), cfg!(target_os = "linux"), "{line}");
        }
    }
}

fn sizes_and_threads_are_passed_on() {
    let folder = prepared();
    let args = ["open.onnx", "--size", "20x12", "--threads", "1", "--provider", "cpu", "--json"];
    for engines in [&["--engine", "auto"][..], &["--engine", "auto", "--engine", "onnxruntime"]] {
        let ran = bench(&folder, &[&args[..], engines].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        for line in lines(&ran) {
            assert_eq!(line["input"], serde_json::json!([1, 3, 12, 20]), "{line}");
            assert_eq!((&line["threads"], &line["provider"]), (&1.into(), &"cpu".into()), "{line}");
        }
    }
}

fn the_table_has_one_head() {
    let folder = prepared();
    let ran = bench(&folder, &["m.onnx", "--layer", "act", "--layer", "conv"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["m.onnx", "2", "pairs"]);
    assert_eq!(lines[1][..2], ["engine", "layer"]);
    assert_eq!((lines[2][1], lines[3][1], lines.len()), ("act", "conv", 4), "{text}");
}

fn mistakes_and_failures() {
    let folder = prepared();
    folder.write("cut.onnx", &classifier()[..99]);
    let rows: [(&[&str], i32, &[&str]); 7] = [
        (&["m.onnx", "--pairs", "0"], 2, &["--pairs", "at least 1"]),
        (&["m.onnx", "--engine", "abacus"], 2, &["auto, rten, onnxruntime"]),
        (&["m.onnx", "--engine", "rten", "--provider", "cpu"], 2, &["--engine rten has none"]),
        (&["m.onnx", "--provider", "abacus"], 2, &["coreml, cpu, cuda"]),
        (&["m.onnx", "--layer", "bct"], 1, &["no layer named \"bct\"", "closest: \"act\""]),
        (&["nix.onnx"], 1, &["cannot open nix.onnx"]),
        (
            &["cut.onnx", "--engine", "rten", "--engine", "rten"],
            1,
            &["cut.onnx is an ONNX model that is cut short"],
        ),
    ];
    for (args, code, phrases) in rows {
        let ran = folder.gradcam(&[&["bench"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(code), &b""[..]), "{}", ran.stderr);
        let missing: Vec<_> =
            phrases.iter().filter(|phrase| !ran.stderr.contains(**phrase)).collect();
        assert!(missing.is_empty(), "{missing:?}: {}", ran.stderr);
    }
    // The other rows are done.
    let ran = bench(&folder, &["m.onnx", "--layer", "bct", "--layer", "act", "--json"]);
    assert_eq!((ran.code, lines(&ran).len()), (Some(1), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("closest"), "{}", ran.stderr);
}
