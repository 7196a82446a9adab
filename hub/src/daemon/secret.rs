//! A value that must not be seen: it prints as `[redacted]` and is wiped from memory when dropped.
//!
//! Not here: protection against a debugger, swap or a core dump of the running process.

use std::fmt;

use zeroize::Zeroize;

/// A secret. It lives on the heap, so that moving the wrapper leaves no copy behind. It cannot be cloned or
/// serialised; reading it takes the word [`expose`](Self::expose).
pub struct Secret<T: Zeroize>(Box<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a secret. The caller wipes whatever copy it made the value from.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The secret itself, for the one computation that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Witness(Arc<AtomicBool>);

    impl Zeroize for Witness {
        fn zeroize(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_secret_is_wiped_when_dropped_and_not_before() {
        let wiped = Arc::new(AtomicBool::new(false));
        let secret = Secret::new(Witness(wiped.clone()));
        assert!(!secret.expose().0.load(Ordering::SeqCst));
        drop(secret);
        assert!(wiped.load(Ordering::SeqCst));
    }

    #[test]
    fn a_secret_prints_as_redacted() {
        let secret = Secret::new(String::from("correct horse"));
        assert_eq!(format!("{secret:?} {secret:#?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "correct horse");
    }
}
