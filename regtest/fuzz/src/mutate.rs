//! Deterministic mutations, for tests that have no libFuzzer: from the same name come the same ones.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Numbers at which programs change their minds.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// A source of mutations.
pub(crate) struct Mutator(StdRng);

impl Mutator {
    pub(crate) fn new(name: &str) -> Self {
        let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Self(StdRng::seed_from_u64(seed))
    }

    /// One of these, changed in one to four places.
    pub(crate) fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus.choose(&mut self.0).cloned().unwrap_or_default();
        for _ in 0..self.0.gen_range(1..=4) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.0.gen_range(0..=input.len());
        let end = self.0.gen_range(at..=input.len().min(at + 64));
        match self.0.gen_range(0..6) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => drop(input.splice(at..at, input[at..end].to_vec())),
            3 => {
                let other = corpus.choose(&mut self.0).map_or(&[][..], Vec::as_slice);
                let from = self.0.gen_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 => {
                let number = EDGES.choose(&mut self.0).copied().unwrap_or_default().to_be_bytes();
                let width = [1, 2, 4, 8].choose(&mut self.0).copied().unwrap_or(1);
                input.iter_mut().skip(at).zip(&number[8 - width..]).for_each(|(old, new)| *old = *new);
            }
            _ => {
                let bit = self.0.gen_range(0..8);
                input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
        }
    }
}
