//! The files that were dropped on the page, as the folder that a model is read from.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use gradcam::onnx_grad::{FileBytes, Files};

/// Files by the path that they were dropped with.
///
/// A browser that is given single files tells no folders. So a path that is not there is looked for by its file name, where one
/// file alone has that name: `data/weights.bin`, `../config.json`.
#[derive(Clone, Default)]
pub struct DroppedFiles(BTreeMap<PathBuf, Arc<dyn FileBytes>>);

impl DroppedFiles {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<PathBuf>, bytes: Arc<dyn FileBytes>) {
        self.0.insert(path.into(), bytes);
    }

    /// The number of bytes of a file; 0 where there is none.
    pub fn len_of(&self, path: &Path) -> u64 {
        self.0.get(path).map_or(0, |file| file.len())
    }

    fn find(&self, path: &Path) -> Option<&Arc<dyn FileBytes>> {
        let exact = self.0.get(path.strip_prefix(".").unwrap_or(path));
        exact.or_else(|| {
            let mut named = self.0.iter().filter(|(other, _)| same_name(other, path));
            let (_, found) = named.next()?;
            named.next().is_none().then_some(found)
        })
    }
}

fn same_name(a: &Path, b: &Path) -> bool {
    a.file_name().is_some_and(|name: &OsStr| Some(name) == b.file_name())
}

impl fmt::Debug for DroppedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Files for DroppedFiles {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileBytes>> {
        self.find(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use gradcam::onnx_grad::MemoryFiles;

    use super::*;

    fn dropped(files: &[(&str, usize)]) -> DroppedFiles {
        let mut all = DroppedFiles::default();
        for (path, len) in files {
            all.add(*path, MemoryFiles::from([("it", vec![0; *len])]).open("it".as_ref()).unwrap());
        }
        all
    }

    #[test]
    fn a_file_is_found_by_its_name_where_its_folder_was_not_told() {
        let files = dropped(&[("model.onnx", 1), ("weights.bin", 2), ("config.json", 3)]);
        let found = |path: &str| files.open(Path::new(path)).map(|file| file.len()).ok();
        assert_eq!(found("model.onnx"), Some(1));
        assert_eq!(found("./model.onnx"), Some(1));
        assert_eq!(found("data/weights.bin"), Some(2));
        assert_eq!(found("../config.json"), Some(3));
        assert_eq!(found("labels.txt"), None);
    }

    #[test]
    fn a_name_that_two_files_have_is_none() {
        let files = dropped(&[("a/config.json", 1), ("b/config.json", 2)]);
        let found = |path: &str| files.open(Path::new(path)).map(|file| file.len()).ok();
        assert_eq!(found("b/config.json"), Some(2));
        assert_eq!(found("config.json"), None);
    }
}
