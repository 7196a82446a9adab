//! A value that must not be seen: it prints as `[redacted]` and is wiped from memory when dropped.
//!
//! Not here: core files and debuggers (see [`memory`](super::memory)), and copies that a library makes while it computes.

use std::fmt;
use std::ops::Deref;

use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::{Keypair, SecretKey};
use rand::{CryptoRng, RngCore};
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

impl<const N: usize> Secret<[u8; N]> {
    /// A secret that is written where it will stay: no copy is made on the way. What an error leaves half written is wiped.
    pub fn fill<E>(write: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::new([0; N]);
        write(&mut secret.0)?;
        Ok(secret)
    }

    /// Fresh random bytes. A short or failed read is an error, never a weak key.
    pub fn random(random: &mut (impl RngCore + CryptoRng)) -> Result<Self, rand::Error> {
        Self::fill(|bytes| random.try_fill_bytes(bytes))
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

/// A key in a form of its library, which copies it freely and never wipes it by itself.
pub trait Erase {
    /// Overwrites the key.
    fn erase(&mut self);
}

impl Erase for SecretKey {
    fn erase(&mut self) {
        self.non_secure_erase();
    }
}

impl Erase for Keypair {
    fn erase(&mut self) {
        self.non_secure_erase();
    }
}

impl Erase for Xpriv {
    fn erase(&mut self) {
        self.private_key.non_secure_erase();
        self.chain_code = [0; 32].into();
    }
}

/// Such a key, on the heap, overwritten when it is dropped. Whoever copies it out of here erases the copy.
pub struct Erased<T: Erase>(Box<T>);

impl<T: Erase> Erased<T> {
    /// Takes the key over.
    pub fn new(key: T) -> Self {
        Self(Box::new(key))
    }
}

impl<T: Erase> Deref for Erased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Erase> fmt::Debug for Erased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Erase> Drop for Erased<T> {
    fn drop(&mut self) {
        self.0.erase();
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
    fn a_read_of_randomness_that_fails_is_an_error_and_what_it_left_is_wiped() {
        struct Broken;
        impl RngCore for Broken {
            fn next_u32(&mut self) -> u32 {
                7
            }
            fn next_u64(&mut self) -> u64 {
                7
            }
            fn fill_bytes(&mut self, bytes: &mut [u8]) {
                bytes.fill(7);
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
                bytes[..16].fill(7);
                Err(rand::Error::new("no randomness"))
            }
        }
        impl CryptoRng for Broken {}
        assert!(Secret::<[u8; 32]>::random(&mut Broken).is_err());
        let [one, other] = [(); 2].map(|()| Secret::<[u8; 32]>::random(&mut rand::rngs::OsRng).unwrap());
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn a_librarys_key_is_erased_when_dropped() {
        struct Shared(Arc<AtomicBool>);
        impl Erase for Shared {
            fn erase(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let erased = Arc::new(AtomicBool::new(false));
        let key = Erased::new(Shared(erased.clone()));
        assert!(!key.0.0.load(Ordering::SeqCst));
        drop(key);
        assert!(erased.load(Ordering::SeqCst));
    }

    #[test]
    fn each_form_of_a_key_is_overwritten_whole() {
        let secret = SecretKey::from_slice(&[7; 32]).unwrap();
        let mut key = secret;
        key.erase();
        let mut pair = Keypair::from_secret_key(bitcoin::secp256k1::SECP256K1, &secret);
        pair.erase();
        let mut master = Xpriv::new_master(bitcoin::Network::Regtest, &[7; 32]).unwrap();
        let before = master;
        master.erase();
        assert_ne!(key, secret);
        assert_ne!(pair.secret_key(), secret);
        assert_ne!(master.private_key, before.private_key);
        assert_eq!(master.chain_code, [0; 32].into());
    }

    #[test]
    fn a_secret_prints_as_redacted() {
        let secret = Secret::new(String::from("correct horse"));
        assert_eq!(format!("{secret:?} {secret:#?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "correct horse");
        let key = Erased::new(SecretKey::from_slice(&[7; 32]).unwrap());
        assert_eq!(format!("{key:?} {key:#?}"), "[redacted] [redacted]");
    }
}
