//! The progress of long work, and its cancellation.

use std::{
    fmt,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Result, error::bail};

/// The progress of a method that runs parts of the network again, for one image, target and layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The method.
    pub method: &'static str,
    /// Changed images or activations whose scores are computed.
    pub done: usize,
    /// Changed images or activations in all.
    pub total: usize,
}

/// Ends explanations before they are done, from any thread, such as that of an interrupt. Clones are one token.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not canceled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels what it was given to, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is canceled.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// `Canceled` where it is.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_canceled() {
            bail!(Canceled, "the explanation was canceled before it was done");
        }
        Ok(())
    }
}

/// The callback for progress, called after each run.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(Progress) -> ControlFlow<()> + Send + Sync>);

impl Observer {
    pub(crate) fn new(
        observe: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(observe))
    }

    /// # Errors
    /// `Canceled` where the observer breaks.
    pub(crate) fn tell(&self, progress: Progress) -> Result<()> {
        let Progress { method, done, total } = progress;
        match (self.0)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                bail!(Canceled, "{method} was canceled after {done} of {total} runs")
            }
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
