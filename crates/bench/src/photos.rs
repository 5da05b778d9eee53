//! What `gradcam explain` does with many photos, without explaining them: they are read, prepared and run through the network,
//! by as many callers as cores.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, Result};
use gradcam::{
    engine::EngineKind,
    image::{Limits, Photo},
};

/// Infers all photos; each run has one thread, as those of `gradcam explain` do.
pub(crate) fn infer(model: &Path, kind: EngineKind, photos: &[PathBuf]) -> Result<()> {
    let explainer = crate::builder(model, kind, &[], Some(NonZeroUsize::MIN), None)?.build()?;
    let first = photos.first().context("no photo")?;
    let shape = explainer.prepare(&Photo::open(first, &Limits::default())?)?.0.dim();
    let inference = explainer.inference(&[shape.0, shape.1, shape.2, shape.3])?;
    let next = AtomicUsize::new(0);
    let caller = || -> Result<()> {
        while let Some(path) = photos.get(next.fetch_add(1, Ordering::Relaxed)) {
            let photo = Photo::open(path, &Limits::default())?;
            inference.run(explainer.prepare(&photo)?.0.view().into_dyn())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let callers: Vec<_> = (0..cores).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().try_for_each(|caller| match caller.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
