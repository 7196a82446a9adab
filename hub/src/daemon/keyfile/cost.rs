//! What guessing a password costs: Argon2id (RFC 9106) and the bounds within which we run it.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The two costs that we encrypt at. A file records its own, so a later change of these opens older files still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KdfCost {
    /// For keys that matter: 64 MiB, 3 passes, 4 lanes (the second recommended option of RFC 9106, section 4).
    Interactive,
    /// For regtest and tests only, where thousands of keys are opened and none is worth guessing.
    Regtest,
}

/// The parameters of one derivation. Whoever holds one knows that it is within the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawParams")]
pub struct KdfParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Parameters that we do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "key derivation wants {memory_kib} KiB, {passes} passes and {lanes} lanes; at least 8 KiB a lane, and at most \
     {} KiB, {} passes and {} lanes are accepted",
    KdfParams::MAX_MEMORY_KIB,
    KdfParams::MAX_PASSES,
    KdfParams::MAX_LANES
)]
pub struct KdfRefused {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl KdfCost {
    /// The cost for keys of a network.
    pub fn for_network(network: bitcoin::Network) -> Self {
        match network {
            bitcoin::Network::Regtest => Self::Regtest,
            _ => Self::Interactive,
        }
    }

    /// Its parameters.
    pub fn params(self) -> KdfParams {
        match self {
            Self::Interactive => KdfParams { memory_kib: 64 * 1024, passes: 3, lanes: 4 },
            Self::Regtest => KdfParams { memory_kib: 64, passes: 1, lanes: 1 },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParams {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl TryFrom<RawParams> for KdfParams {
    type Error = KdfRefused;

    fn try_from(RawParams { memory_kib, passes, lanes }: RawParams) -> Result<Self, KdfRefused> {
        let bounded = memory_kib <= Self::MAX_MEMORY_KIB
            && (1..=Self::MAX_PASSES).contains(&passes)
            && (1..=Self::MAX_LANES).contains(&lanes)
            && memory_kib >= 8 * lanes;
        if bounded {
            Ok(Self { memory_kib, passes, lanes })
        } else {
            Err(KdfRefused { memory_kib, passes, lanes })
        }
    }
}

impl KdfParams {
    /// Most memory that a file can make us use: 256 MiB.
    pub const MAX_MEMORY_KIB: u32 = 256 * 1024;
    /// Most passes over it.
    pub const MAX_PASSES: u32 = 16;
    /// Most lanes.
    pub const MAX_LANES: u32 = 16;

    /// Whether guessing costs at least as much as under `weakest`: no less memory, and no fewer passes.
    pub fn is_at_least(self, weakest: Self) -> bool {
        self.memory_kib >= weakest.memory_kib && self.passes >= weakest.passes
    }

    /// The 32-byte key that Argon2id version 1.3 derives.
    pub(super) fn derive(self, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, argon2::Error> {
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(key.len()))?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            password,
            salt,
            key.as_mut(),
        )?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(memory_kib: u32, passes: u32, lanes: u32) -> bool {
        let json = format!(r#"{{"memory_kib":{memory_kib},"passes":{passes},"lanes":{lanes}}}"#);
        let read: Result<KdfParams, _> = serde_json::from_str(&json);
        if let Ok(params) = read {
            assert_eq!(serde_json::to_string(&params).unwrap(), json);
        }
        read.is_ok()
    }

    #[test]
    fn a_file_cannot_ask_for_more_than_the_bounds_or_less_than_argon2_runs_with() {
        for ((memory, passes, lanes), expected) in [
            ((65_536, 3, 4), true),
            ((64, 1, 1), true),
            ((8, 1, 1), true),
            ((262_144, 16, 16), true),
            ((262_145, 1, 1), false),
            ((104_857_600, 1, 1), false),
            ((u32::MAX, u32::MAX, u32::MAX), false),
            ((64, 17, 1), false),
            ((64, 1, 17), false),
            ((64, 0, 1), false),
            ((64, 1, 0), false),
            ((7, 1, 1), false),
            ((31, 1, 4), false),
            ((0, 0, 0), false),
        ] {
            assert_eq!(accepted(memory, passes, lanes), expected, "{memory} {passes} {lanes}");
        }
    }

    #[test]
    fn only_regtest_is_cheap_and_both_costs_are_within_the_bounds() {
        for network in ["bitcoin", "testnet", "testnet4", "signet", "regtest"] {
            let cost = KdfCost::for_network(network.parse().unwrap());
            assert_eq!(cost == KdfCost::Regtest, network == "regtest", "{network}");
            let KdfParams { memory_kib, passes, lanes } = cost.params();
            assert!(accepted(memory_kib, passes, lanes));
        }
    }

    #[test]
    fn weaker_is_less_memory_or_fewer_passes() {
        let strong = KdfCost::Interactive.params();
        let cheap = KdfCost::Regtest.params();
        assert!(strong.is_at_least(strong) && strong.is_at_least(cheap) && !cheap.is_at_least(strong));
        assert!(!KdfParams { passes: 2, ..strong }.is_at_least(strong));
        assert!(!KdfParams { memory_kib: strong.memory_kib - 1, ..strong }.is_at_least(strong));
    }
}
