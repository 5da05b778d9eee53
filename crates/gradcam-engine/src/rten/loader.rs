//! Loads graphs with `ModelOptions`, which hold the weights that the graphs of a model share.
//!
//! The options cannot leave their thread. Where there are threads, one of their own owns them; in WebAssembly there is one
//! thread, and it keeps the options of each loader.

use std::sync::mpsc::Sender;

use rten::ModelOptions;

use super::panics::guarded;
use crate::{EngineError, EngineErrorKind, error::Result};

/// A graph to load, and those of its weights that the options do not have yet, by location.
pub(super) struct LoadRequest {
    pub(super) skeleton: Vec<u8>,
    pub(super) weights: Vec<(String, Vec<u8>)>,
    pub(super) reply: Sender<Result<rten::Model>>,
}

impl LoadRequest {
    fn load_with(self, options: &mut ModelOptions) {
        let Self { skeleton, weights, reply } = self;
        for (location, bytes) in weights {
            options.external_data(&location, bytes);
        }
        let loaded = guarded(|| options.load(skeleton)).and_then(|loaded| {
            loaded.map_err(|e| {
                let node = e.node().map(str::to_owned);
                let message = format!("rten cannot load the model: {e}");
                EngineError::new(EngineErrorKind::Model, message).at_node(node)
            })
        });
        // If the caller has panicked, nobody receives the reply.
        let _ = reply.send(loaded);
    }
}

#[cfg(not(target_family = "wasm"))]
mod owner {
    use std::{
        sync::mpsc::{self, Sender},
        thread,
    };

    use super::{EngineError, EngineErrorKind, LoadRequest, ModelOptions, Result};

    /// A thread with options, which ends when this is dropped.
    pub(in super::super) struct Loader(Sender<LoadRequest>);

    impl Loader {
        pub(in super::super) fn new() -> Result<Self> {
            let (sender, requests) = mpsc::channel::<LoadRequest>();
            let load_all = move || {
                let mut options = ModelOptions::with_all_ops();
                requests.into_iter().for_each(|request| request.load_with(&mut options));
            };
            let thread = thread::Builder::new().name("rten-loader".to_owned());
            thread.spawn(load_all).map_err(|e| {
                EngineError::new(EngineErrorKind::Model, format!("cannot start a thread: {e}"))
                    .because(e)
            })?;
            Ok(Self(sender))
        }

        /// Requests are handled in the order in which they are sent. If the thread has ended, the reply never comes.
        pub(in super::super) fn send(&self, request: LoadRequest) {
            let Self(sender) = self;
            let _ = sender.send(request);
        }
    }
}

#[cfg(target_family = "wasm")]
mod owner {
    use std::{cell::RefCell, collections::HashMap};

    use super::{LoadRequest, ModelOptions, Result};

    /// The options of this thread's loaders, by number.
    #[derive(Default)]
    struct Loaders {
        count: u64,
        options: HashMap<u64, ModelOptions>,
    }

    thread_local! {
        static LOADERS: RefCell<Loaders> = RefCell::default();
    }

    /// The number of options of this thread, which are dropped with this.
    pub(in super::super) struct Loader(u64);

    impl Loader {
        pub(in super::super) fn new() -> Result<Self> {
            Ok(LOADERS.with_borrow_mut(|loaders| {
                loaders.count += 1;
                loaders.options.insert(loaders.count, ModelOptions::with_all_ops());
                Self(loaders.count)
            }))
        }

        pub(in super::super) fn send(&self, request: LoadRequest) {
            let Self(number) = self;
            LOADERS.with_borrow_mut(|loaders| {
                if let Some(options) = loaders.options.get_mut(number) {
                    request.load_with(options);
                }
            });
        }
    }

    impl Drop for Loader {
        fn drop(&mut self) {
            let Self(number) = self;
            LOADERS.with_borrow_mut(|loaders| loaders.options.remove(number));
        }
    }
}

pub(super) use owner::Loader;
