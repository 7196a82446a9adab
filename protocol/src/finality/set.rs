//! Sets: who votes in an epoch, with how much power, under which nonce roots. Fixed before the epoch begins.
//! Source: docs/protocol.md, section 7.2.

use crate::codec::Wire as _;
use crate::context::Context;
use crate::hash::{Hash32, tagged};
use crate::keys::ProviderKey;
use crate::tree::{Tree, leaf_hash};
use crate::units::{BtcHeight, Epoch};
use bitcoin::Amount;

/// Most members of a set.
pub const MAX_MEMBERS: usize = 60;

/// One member of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Key for votes.
    pub key: ProviderKey,
    /// Power.
    pub power: Amount,
    /// SHA-256 of the BLS key; zero for chains other than chain zero.
    pub bls_hash: Hash32,
    /// Root of its nonces for the epoch; zero where a carried-over set has none.
    pub nonce_root: Hash32,
}

crate::wire!(Member { key, power, bls_hash, nonce_root });

impl Member {
    /// Leaf of the members tree.
    pub fn leaf(&self) -> Hash32 {
        let (key, power) = (self.key.to_bytes(), self.power.to_bytes());
        leaf_hash(&[&key[..], &power, &self.bls_hash.0].concat())
    }

    /// Leaf of the nonces tree.
    pub fn nonce_leaf(&self) -> Hash32 {
        leaf_hash(&self.nonce_root.0)
    }
}

/// What a set's hash covers: enough to judge a certificate that brings its own members along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetHeader {
    /// The chain's vote context.
    pub context: Context,
    /// The epoch that it votes in.
    pub epoch: Epoch,
    /// Last Bitcoin height, as the hub knows it, at which anybody signs under the set.
    pub expiry: BtcHeight,
    /// Members.
    pub count: u16,
    /// Their power together.
    pub total: Amount,
    /// Root over [`Member::leaf`], in ascending order of key.
    pub members_root: Hash32,
    /// Root over [`Member::nonce_leaf`], in the same order.
    pub nonces_root: Hash32,
}

crate::wire!(SetHeader { context, epoch, expiry, count, total, members_root, nonces_root });

impl SetHeader {
    /// The set's hash.
    pub fn hash(&self) -> Hash32 {
        tagged("palisade/1/set", &[&self.to_bytes()])
    }

    /// Whether so much power finalises: strictly more than two thirds, and never none.
    pub fn is_quorum(&self, power: Amount) -> bool {
        exceeds_two_thirds(power, self.total)
    }
}

/// Strictly more than two thirds of `total`, and so never no power.
pub fn exceeds_two_thirds(power: Amount, total: Amount) -> bool {
    let three = u128::from(power.to_sat()).saturating_mul(3);
    let two = u128::from(total.to_sat()).saturating_mul(2);
    three > two
}

/// Why members do not make a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// None, or more than [`MAX_MEMBERS`].
    #[error("a set has 1 to {MAX_MEMBERS} members, not {0}")]
    Size(usize),
    /// Two members with one key, or not in ascending order.
    #[error("members are not in ascending order of their keys")]
    Order,
    /// A member without power.
    #[error("member {0} has no power")]
    NoPower(ProviderKey),
    /// More power than there are bitcoins.
    #[error("the members' power overflows")]
    Overflow,
}

/// A whole set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    header: SetHeader,
    members: Vec<Member>,
}

impl Set {
    /// Makes the set of an epoch. Members come in ascending order of their keys.
    pub fn new(
        context: Context,
        epoch: Epoch,
        expiry: BtcHeight,
        members: Vec<Member>,
    ) -> Result<Self, BadSet> {
        if members.is_empty() || members.len() > MAX_MEMBERS {
            return Err(BadSet::Size(members.len()));
        }
        if !members.is_sorted_by(|a, b| a.key < b.key) {
            return Err(BadSet::Order);
        }
        if let Some(idle) = members.iter().find(|member| member.power == Amount::ZERO) {
            return Err(BadSet::NoPower(idle.key));
        }
        let total = members
            .iter()
            .try_fold(Amount::ZERO, |sum, member| sum.checked_add(member.power))
            .ok_or(BadSet::Overflow)?;
        let count = u16::try_from(members.len()).map_err(|_| BadSet::Size(members.len()))?;
        let members_root = Tree::from_leaves(members.iter().map(Member::leaf)).root();
        let nonces_root = Tree::from_leaves(members.iter().map(Member::nonce_leaf)).root();
        let header = SetHeader { context, epoch, expiry, count, total, members_root, nonces_root };
        Ok(Self { header, members })
    }

    /// What the hash covers.
    pub fn header(&self) -> &SetHeader {
        &self.header
    }

    /// The set's hash.
    pub fn hash(&self) -> Hash32 {
        self.header.hash()
    }

    /// Members in ascending order of their keys.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member and its place.
    pub fn find(&self, key: &ProviderKey) -> Option<(usize, &Member)> {
        let index = self.members.binary_search_by(|member| member.key.cmp(key)).ok()?;
        Some((index, self.members.get(index)?))
    }
}
