//! A lock for one thread at a time, which refuses a thread that has it already.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread::{self, ThreadId},
};

use crate::{Result, error::bail};

/// A value that one thread at a time may use.
pub(super) struct Exclusive<T> {
    value: Mutex<T>,
    /// The thread that uses it.
    holder: Mutex<Option<ThreadId>>,
}

/// The use of an [`Exclusive`] value, until it is dropped.
pub(super) struct Hold<'a, T> {
    value: MutexGuard<'a, T>,
    holder: &'a Mutex<Option<ThreadId>>,
}

impl<T> Exclusive<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), holder: Mutex::default() }
    }

    /// Waits until no other thread uses the value. `call` is what the caller was asked for.
    ///
    /// # Errors
    /// `Hook` where this thread uses it already: a hook calls the network that called it.
    pub(super) fn hold(&self, call: &'static str) -> Result<Hold<'_, T>> {
        let me = thread::current().id();
        if *locked(&self.holder) == Some(me) {
            bail!(
                Hook,
                "a hook called {call} of its own network, which is in a pass and does one at a time; call it after the \
                 pass, or give the hook a network of its own"
            );
        }
        let value = locked(&self.value);
        *locked(&self.holder) = Some(me);
        Ok(Hold { value, holder: &self.holder })
    }

    /// Reads the value; `None` while a thread uses it.
    pub(super) fn peek<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        match self.value.try_lock() {
            Ok(value) => Some(read(&value)),
            Err(TryLockError::Poisoned(poisoned)) => Some(read(&poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A hook that panicked leaves plans and the other hooks as they were.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Deref for Hold<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Hold<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Hold<'_, T> {
    fn drop(&mut self) {
        *locked(self.holder) = None;
    }
}
