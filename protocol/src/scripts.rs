//! The leaf scripts of stakes: who can move the coins, and when.
//!
//! Byte for byte those that wallets and Babylon's tools already know (docs/protocol.md, section 2.1). Keys inside one multisig
//! are sorted by their bytes; a multisig of one key is a plain CHECKSIG; no key stands twice in a script. Keys are pushed as
//! the bytes that they are: making points of them would cost more than all the rest of a script.

use crate::keys::{CovenantKey, ProviderKey, StakerKey};
use crate::units::RelativeBlocks;
use bitcoin::hex::DisplayHex as _;
use bitcoin::opcodes::all::*;
use bitcoin::script::{Builder, ScriptBuf};

/// Most finality providers that one stake may name.
pub const MAX_PROVIDERS: usize = 8;
/// Most members of a covenant committee.
pub const MAX_COVENANT: usize = 20;

/// Why keys cannot stand in a script together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// A stake names no provider, or too many.
    #[error("a stake names 1 to {MAX_PROVIDERS} finality providers, not {0}")]
    ProviderCount(usize),
    /// A committee has no member, or too many.
    #[error("a committee has 1 to {MAX_COVENANT} members, not {0}")]
    CommitteeSize(usize),
    /// A quorum that is no majority, or that nobody can reach.
    #[error("a quorum of {quorum} is not a majority of {members} members that they can reach")]
    Quorum {
        /// Signatures wanted.
        quorum: usize,
        /// Members there are.
        members: usize,
    },
    /// One key in two places.
    #[error("key {0} stands in two places of one script")]
    Duplicate(String),
}

/// The covenant committee: its keys in ascending order and how many must sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Committee {
    members: Vec<CovenantKey>,
    quorum: u8,
}

impl Committee {
    /// Sorts the keys. Refuses duplicates, and quorums that are not a reachable majority.
    pub fn new(mut members: Vec<CovenantKey>, quorum: u8) -> Result<Self, BadKeys> {
        let size = members.len();
        if size == 0 || size > MAX_COVENANT {
            return Err(BadKeys::CommitteeSize(size));
        }
        if usize::from(quorum) > size || usize::from(quorum) <= size / 2 {
            return Err(BadKeys::Quorum { quorum: quorum.into(), members: size });
        }
        members.sort_unstable();
        refuse_duplicates(members.iter().map(|key| key.to_bytes()).collect())?;
        Ok(Self { members, quorum })
    }

    /// Members in ascending order of their keys.
    pub fn members(&self) -> &[CovenantKey] {
        &self.members
    }

    /// Signatures that a spend needs: exactly so many, not more.
    pub fn quorum(&self) -> u8 {
        self.quorum
    }

    /// A member's place, counted from the lowest key.
    pub fn index_of(&self, key: &CovenantKey) -> Option<usize> {
        self.members.binary_search(key).ok()
    }
}

/// The keys of one stake: its owner, the providers that can lose it, the committee that must agree to move it early.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StakeKeys {
    staker: StakerKey,
    providers: Vec<ProviderKey>,
    committee: Committee,
}

impl StakeKeys {
    /// Sorts the providers. Refuses more than [`MAX_PROVIDERS`], none, and any key in two roles or places.
    pub fn new(
        staker: StakerKey,
        mut providers: Vec<ProviderKey>,
        committee: Committee,
    ) -> Result<Self, BadKeys> {
        if providers.is_empty() || providers.len() > MAX_PROVIDERS {
            return Err(BadKeys::ProviderCount(providers.len()));
        }
        providers.sort_unstable();
        let keys = std::iter::once(staker.to_bytes())
            .chain(providers.iter().map(|key| key.to_bytes()))
            .chain(committee.members().iter().map(|key| key.to_bytes()));
        refuse_duplicates(keys.collect())?;
        Ok(Self { staker, providers, committee })
    }

    /// The owner.
    pub fn staker(&self) -> StakerKey {
        self.staker
    }

    /// Providers in ascending order of their keys.
    pub fn providers(&self) -> &[ProviderKey] {
        &self.providers
    }

    /// The committee.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The owner alone, once the output has aged by `lock`: `<S> CHECKSIGVERIFY <lock> CHECKSEQUENCEVERIFY`.
    pub fn timelock_leaf(&self, lock: RelativeBlocks) -> ScriptBuf {
        timelock_leaf(self.staker, lock)
    }

    /// The owner and a quorum of the committee: `<S> CHECKSIGVERIFY <committee>`.
    pub fn unbonding_leaf(&self) -> ScriptBuf {
        multisig(owner(self.staker), &self.committee_keys(), self.committee.quorum, End::Leaf).into_script()
    }

    /// The owner, any one provider and a quorum of the committee: `<S> CHECKSIGVERIFY <providers> <committee>`.
    pub fn slashing_leaf(&self) -> ScriptBuf {
        let providers: Vec<_> = self.providers.iter().map(|key| key.to_bytes()).collect();
        let head = multisig(owner(self.staker), &providers, 1, End::Verify);
        multisig(head, &self.committee_keys(), self.committee.quorum, End::Leaf).into_script()
    }

    fn committee_keys(&self) -> Vec<[u8; 32]> {
        self.committee.members.iter().map(|key| key.to_bytes()).collect()
    }
}

/// The owner alone, once the output has aged by `lock`: also the only leaf of a slashing transaction's change.
pub fn timelock_leaf(staker: StakerKey, lock: RelativeBlocks) -> ScriptBuf {
    owner(staker).push_int(i64::from(lock.get())).push_opcode(OP_CSV).into_script()
}

fn owner(staker: StakerKey) -> Builder {
    Builder::new().push_slice(staker.to_bytes()).push_opcode(OP_CHECKSIGVERIFY)
}

/// Whether a multisig is the last thing of its leaf or something follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Leaf,
    Verify,
}

fn multisig(script: Builder, keys: &[[u8; 32]], quorum: u8, end: End) -> Builder {
    if let [key] = keys {
        let check = if end == End::Verify { OP_CHECKSIGVERIFY } else { OP_CHECKSIG };
        return script.push_slice(key).push_opcode(check);
    }
    let mut script = script;
    for (i, key) in keys.iter().enumerate() {
        let check = if i == 0 { OP_CHECKSIG } else { OP_CHECKSIGADD };
        script = script.push_slice(key).push_opcode(check);
    }
    let equal = if end == End::Verify { OP_NUMEQUALVERIFY } else { OP_NUMEQUAL };
    script.push_int(i64::from(quorum)).push_opcode(equal)
}

fn refuse_duplicates(mut keys: Vec<[u8; 32]>) -> Result<(), BadKeys> {
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair.first() == pair.last()) {
        Some([key, _]) => Err(BadKeys::Duplicate(key.to_lower_hex_string())),
        _ => Ok(()),
    }
}
