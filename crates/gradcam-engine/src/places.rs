//! Where the library of ONNX Runtime can be found.

use std::{
    env::consts::{ARCH, DLL_PREFIX, DLL_SUFFIX},
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The usual places of the library of ONNX Runtime, for [`EngineOptions::library`].
///
/// A library that the user names in `ORT_DYLIB_PATH` is used exclusively. Otherwise the list has the environments of Python in
/// their order, such as that of the interpreter that runs this code and the active one (`VIRTUAL_ENV`), whose `onnxruntime`
/// package contains the library; an environment may also be the folder of that package. Then come system folders, then the
/// bare name, which the system's loader looks up. This crate reads no environment variables; the caller passes their values.
///
/// [`EngineOptions::library`]: super::EngineOptions::library
pub fn library_places(ort_dylib_path: Option<&OsStr>, environments: &[&Path]) -> Vec<PathBuf> {
    if let Some(path) = ort_dylib_path.filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let mut places: Vec<PathBuf> = environments.iter().copied().map(Path::to_owned).collect();
    if cfg!(unix) {
        places.extend(["/usr/local", "/opt/homebrew", "/usr"].map(PathBuf::from));
        places.push(format!("/usr/lib/{ARCH}-linux-gnu").into());
    }
    places.push(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}").into());
    places
}

/// Whether a place, such as a Python environment, contains a library of ONNX Runtime. The library is not loaded.
pub fn holds_library(place: &Path) -> bool {
    candidates(place).iter().any(|file| file.is_file())
}

/// The files to try for one place: the place itself if it is not a folder, otherwise the libraries in it.
pub(super) fn candidates(place: &Path) -> Vec<PathBuf> {
    // The system's loader looks up a bare name.
    let bare = place.components().count() == 1 && !place.exists();
    if bare || place.is_file() {
        return vec![place.to_owned()];
    }
    let mut folders = vec![place.to_owned(), place.join("lib"), place.join("capi")];
    folders.push(place.join("onnxruntime/capi"));
    folders.push(place.join("Lib/site-packages/onnxruntime/capi"));
    for python in entries(&place.join("lib"), |name| name.starts_with("python3")) {
        folders.push(python.join("site-packages/onnxruntime/capi"));
        folders.push(python.join("dist-packages/onnxruntime/capi"));
    }
    folders.iter().flat_map(|folder| entries(folder, is_library)).collect()
}

/// Whether a file is named like `libonnxruntime.so.1.32.0`. The libraries of its providers are named otherwise.
fn is_library(name: &str) -> bool {
    let rest = name.strip_prefix(DLL_PREFIX).and_then(|name| name.strip_prefix("onnxruntime"));
    rest.is_some_and(|rest| rest.starts_with('.') && rest.contains(DLL_SUFFIX))
}

/// The entries of a folder whose names are wanted, newest version first.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = listing.filter_map(Result::ok);
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| wanted(name))?;
            let numbers = name.split(|c: char| !c.is_ascii_digit());
            Some((numbers.filter_map(|n| n.parse().ok()).collect(), entry.path()))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_python_environment_and_its_folders_are_places() {
        let root = std::env::temp_dir().join("gradcam-engine-places");
        let package = root.join("lib/python3.11/site-packages/onnxruntime");
        let capi = package.join("capi");
        fs::create_dir_all(&capi).unwrap();
        let file = |version: &str| match std::env::consts::OS {
            "macos" => format!("libonnxruntime.{version}.dylib"),
            "windows" => "onnxruntime.dll".to_owned(),
            _ => format!("libonnxruntime.so.{version}"),
        };
        for name in [&file("1.9.0"), &file("1.32.0"), "libonnxruntime_providers_shared.so", "x.py"]
        {
            fs::write(capi.join(name), "").unwrap();
        }
        for place in [&root, &package, &capi] {
            assert!(holds_library(place), "{}", place.display());
            let found = candidates(place);
            assert_eq!(found.first(), Some(&capi.join(file("1.32.0"))), "{}", place.display());
            assert!(found.len() <= 2, "{found:?}");
        }
        let one = capi.join(file("1.9.0"));
        assert_eq!(candidates(&one), [one.as_path()]);
        assert!(candidates(&root.join("nothing")).is_empty());
        assert!(!holds_library(&root.join("nothing")));
        assert!(
            !holds_library(Path::new("libonnxruntime.so")),
            "a bare name is for the loader, not a place"
        );
        assert_eq!(candidates(Path::new("libonnxruntime.so")), [Path::new("libonnxruntime.so")]);
        fs::remove_dir_all(&root).unwrap();
    }
}
