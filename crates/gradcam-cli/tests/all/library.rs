//! The command line as a function: it answers as the program does and leaves the process alone.
//!
//! This test program, started with a variable of the environment, is a host itself.

use std::{
    env, fs,
    panic::{self, catch_unwind},
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use gradcam_cli::Host;
use testkit::Suite;

use crate::{
    models::classifier,
    run::{Folder, Ran},
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(
        suite,
        it_answers_as_the_program,
        calls_at_once_write_the_same_file_whole,
        a_host_says_how_it_is_started_again,
        a_host_says_where_its_environment_is,
    );
}

/// Names the file that a host writes its [`observations`] into.
const OBSERVED: &str = "GRADCAM_TEST_OBSERVED";
/// The environment that a host says that it is in.
const ENVIRONMENT: &str = "GRADCAM_TEST_ENVIRONMENT";
/// Set where a host says how it is started.
const AGAIN: &str = "GRADCAM_TEST_AGAIN";
/// How often, all at once, a host calls the function.
const CALLS: &str = "GRADCAM_TEST_CALLS";

static FILES_BEGAN: AtomicBool = AtomicBool::new(false);
static OWN_HOOK: AtomicBool = AtomicBool::new(false);

/// Runs the command line where this program is started as a host.
pub(crate) fn host() -> Option<ExitCode> {
    let observed = env::var_os(OBSERVED)?;
    let program = env::var_os(AGAIN).and_then(|_| env::current_exe().ok());
    let host = Host {
        command: program.into_iter().map(Into::into).collect(),
        environment: env::var_os(ENVIRONMENT).map(Into::into),
        before_files: Some(|| FILES_BEGAN.store(true, Ordering::SeqCst)),
    };
    let calls = env::var(CALLS).map_or(1, |calls| calls.parse().expect("a number"));
    panic::set_hook(Box::new(|_| OWN_HOOK.store(true, Ordering::SeqCst)));
    let signals = caught_signals();
    let codes = std::thread::scope(|scope| {
        let call = || gradcam_cli::run(env::args_os().skip(1), &host);
        let threads: Vec<_> = (0..calls).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a code")).max()
    });
    let code = codes.unwrap_or_default();
    let same = signals == caught_signals();
    catch_unwind(|| panic!("seen by the host's own hook")).expect_err("it panics");
    let own = OWN_HOOK.load(Ordering::SeqCst);
    let files = FILES_BEGAN.load(Ordering::SeqCst);
    fs::write(observed, observations(code, files, same, own)).expect("a file");
    Some(ExitCode::from(code))
}

fn observations(code: u8, files: bool, same_signals: bool, own_hook: bool) -> String {
    format!("code {code}, files {files}, same signals {same_signals}, own hook {own_hook}")
}

/// The signals that this process ignores and catches; none on systems that have no file about them.
fn caught_signals() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let about = |line: &&str| line.starts_with("SigIgn") || line.starts_with("SigCgt");
    // The C library catches real-time signals for itself when the first thread begins; the others are the lower half.
    let lower = |line: &str| line.get(line.len().saturating_sub(8)..).map(str::to_owned);
    status.lines().filter(about).map(lower).collect()
}

/// Runs this program as a host in a folder, and gives also what it observed.
fn hosted(folder: &Folder, variables: &[(&str, &str)], args: &[&str]) -> (Ran, String) {
    let output = Command::new(env::current_exe().expect("a program"))
        .args(args)
        .current_dir(folder.path(""))
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("VIRTUAL_ENV")
        .env_remove("COLUMNS")
        .env(OBSERVED, folder.path("observed"))
        .envs(variables.iter().copied())
        .output()
        .expect("a host");
    let ran = Ran {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        stdout: output.stdout,
    };
    // A host whose process was ended from inside observed nothing.
    (ran, fs::read_to_string(folder.path("observed")).unwrap_or_default())
}

fn prepared() -> Folder {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    let photo =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../gradcam-image/tests/data/modes/rgb16.png");
    fs::copy(photo, folder.path("x.png")).expect("a photo");
    folder
}

fn it_answers_as_the_program() {
    let rows: [(&[&str], u8, bool); 7] = [
        (&["--version"], 0, false),
        (&["explain", "--help"], 0, false),
        (&[], 2, false),
        (&["explain", "x.png", "--nonsense"], 2, false),
        (&["methods", "--json"], 0, false),
        (&["layers", "nothing.onnx"], 1, false),
        (
            &["explain", "x.png", "-q", "-m", "m.onnx", "--preset", "imagenet", "-o", "out.png"],
            0,
            true,
        ),
    ];
    let folder = prepared();
    for (args, code, files) in rows {
        let program = folder.gradcam(args);
        let written = folder.list("");
        let _ = fs::remove_file(folder.path("out.png"));
        let (ran, observed) = hosted(&folder, &[], args);
        assert_eq!(observed, observations(code, files, true, true), "{args:?}");
        assert_eq!((ran.code, &ran.stderr), (program.code, &program.stderr), "{args:?}");
        assert!(ran.stdout == program.stdout, "{args:?}: {}", String::from_utf8_lossy(&ran.stdout));
        fs::remove_file(folder.path("observed")).expect("a file");
        assert_eq!(folder.list(""), written, "{args:?}");
    }
}

fn calls_at_once_write_the_same_file_whole() {
    let folder = prepared();
    let args = ["explain", "x.png", "-m", "m.onnx", "--preset", "imagenet", "-o", "out.png"];
    assert_eq!(folder.gradcam(&args).code, Some(0));
    let alone = folder.read("out.png");
    let (_, observed) = hosted(&folder, &[(CALLS, "8")], &args);
    assert_eq!(observed, observations(0, true, true, true));
    assert!(folder.read("out.png") == alone, "another picture");
    assert_eq!(folder.list(""), ["m.onnx", "observed", "out.png", "x.png"]);
}

fn a_host_says_how_it_is_started_again() {
    let folder = prepared();
    let args = ["bench", "m.onnx", "--pairs", "1", "--engine", "rten", "--json"];
    let args = [&args[..], &["--layer", "act", "--layer", "conv"]].concat();
    let (ran, observed) = hosted(&folder, &[(AGAIN, "")], &args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8_lossy(&ran.stdout).lines().count(), 2);
    assert_eq!(observed, observations(0, false, true, true));
    let (ran, _) = hosted(&folder, &[], &args);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("does not say how it is started again"), "{}", ran.stderr);
    // One row needs no other process.
    let (ran, _) = hosted(&folder, &[], &args[..args.len() - 2]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// The library in the host's environment is taken before that of the active one, which has something else of this name.
fn a_host_says_where_its_environment_is() {
    let folder = prepared();
    let library = testkit::onnxruntime();
    let name = library.file_name().expect("a file");
    let environments = ["own", "active", "bare"].map(|name| folder.path(name));
    for environment in &environments {
        fs::create_dir_all(environment.join("lib/python3.12/site-packages/onnxruntime/capi"))
            .expect("a folder");
    }
    let inside = |at: usize| {
        environments[at].join("lib/python3.12/site-packages/onnxruntime/capi").join(name)
    };
    fs::copy(&library, inside(0)).expect("a library");
    fs::write(inside(1), "no library").expect("a file");
    let [own, active, bare] = environments.each_ref().map(|path| path.to_str().expect("UTF-8"));
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let rows: [Row<'_>; 4] = [
        (&[(ENVIRONMENT, own)], "onnxruntime", "this Python has the package onnxruntime"),
        (
            &[(ENVIRONMENT, own), ("VIRTUAL_ENV", active)],
            "onnxruntime",
            "this Python has the package onnxruntime",
        ),
        (
            &[(ENVIRONMENT, bare), ("VIRTUAL_ENV", own)],
            "onnxruntime",
            "the active virtual environment has the package onnxruntime",
        ),
        (
            &[(ENVIRONMENT, bare)],
            "rten",
            "ORT_DYLIB_PATH is not set, and neither this Python nor an active virtual environment has the package \
             onnxruntime",
        ),
    ];
    for (variables, engine, why) in rows {
        let args = ["bench", "m.onnx", "--pairs", "1", "--json"];
        let (ran, _) = hosted(&folder, variables, &args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{variables:?}");
        let row: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!((row["engine"].as_str(), row["engine_why"].as_str()), (Some(engine), Some(why)));
    }
}
