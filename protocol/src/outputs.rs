//! The taproot outputs that hold stakes, and the descriptors that describe them.
//!
//! The internal key is BIP-341's NUMS point, so nobody can spend by key. Trees (docs/protocol.md, section 2.2):
//! staking `{ slashing, { unbonding, timelock } }`, unbonding `{ slashing, timelock }`, change of a slashing `timelock`.

use crate::keys::{ProviderKey, StakerKey};
use crate::scripts::{self, StakeKeys};
use crate::units::RelativeBlocks;
use bitcoin::secp256k1::{SECP256K1, XOnlyPublicKey};
use bitcoin::taproot::{ControlBlock, LeafVersion, TapLeafHash, TaprootBuilder, TaprootSpendInfo};
use bitcoin::{Address, Network, ScriptBuf};
use std::sync::LazyLock;

/// BIP-341's "nothing up my sleeve" point: no private key is known to anybody.
pub const NUMS: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e, 0x07,
    0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

#[allow(clippy::expect_used, reason = "a constant that BIP-341 gives as a point")]
static INTERNAL_KEY: LazyLock<XOnlyPublicKey> =
    LazyLock::new(|| XOnlyPublicKey::from_slice(&NUMS).expect("a point"));

/// A way to spend an output of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leaf {
    /// The owner alone, after the lock.
    Timelock,
    /// The owner and the committee.
    Unbonding,
    /// The owner, a provider whose key is out, and the committee.
    Slashing,
}

/// One of our outputs, with all that is needed to spend it.
#[derive(Debug, Clone)]
pub struct Output {
    leaves: Vec<(Leaf, ScriptBuf)>,
    tree: TaprootSpendInfo,
    shape: Shape,
}

/// What an output is: its descriptor is written only when somebody asks.
#[derive(Debug, Clone)]
enum Shape {
    Staking(StakeKeys, RelativeBlocks),
    Unbonding(StakeKeys, RelativeBlocks),
    SlashingChange(StakerKey, RelativeBlocks),
}

impl Output {
    /// Where a holder's coins are staked for `lock` blocks.
    pub fn staking(keys: &StakeKeys, lock: RelativeBlocks) -> Self {
        let leaves = [
            (1, Leaf::Slashing, keys.slashing_leaf()),
            (2, Leaf::Unbonding, keys.unbonding_leaf()),
            (2, Leaf::Timelock, keys.timelock_leaf(lock)),
        ];
        Self::new(leaves.into(), Shape::Staking(keys.clone(), lock))
    }

    /// Where the coins wait after an early exit, for the unbonding time.
    pub fn unbonding(keys: &StakeKeys, unbonding_time: RelativeBlocks) -> Self {
        let leaves = [
            (1, Leaf::Slashing, keys.slashing_leaf()),
            (1, Leaf::Timelock, keys.timelock_leaf(unbonding_time)),
        ];
        Self::new(leaves.into(), Shape::Unbonding(keys.clone(), unbonding_time))
    }

    /// What a slashing leaves to the holder, locked for the unbonding time.
    pub fn slashing_change(staker: StakerKey, unbonding_time: RelativeBlocks) -> Self {
        let leaf = (0, Leaf::Timelock, scripts::timelock_leaf(staker, unbonding_time));
        Self::new(vec![leaf], Shape::SlashingChange(staker, unbonding_time))
    }

    #[allow(clippy::expect_used, reason = "the three shapes above are complete trees; the tests build each")]
    fn new(leaves: Vec<(u8, Leaf, ScriptBuf)>, shape: Shape) -> Self {
        let builder = leaves.iter().fold(TaprootBuilder::new(), |builder, (depth, _, script)| {
            builder.add_leaf(*depth, script.clone()).expect("depths of a complete tree")
        });
        let spend = builder.finalize(SECP256K1, *INTERNAL_KEY).expect("a complete tree");
        let leaves = leaves.into_iter().map(|(_, leaf, script)| (leaf, script)).collect();
        Self { leaves, tree: spend, shape }
    }

    /// The output's script: version 1 and the tweaked key.
    pub fn script_pubkey(&self) -> ScriptBuf {
        ScriptBuf::new_p2tr_tweaked(self.tree.output_key())
    }

    /// The same as an address.
    pub fn address(&self, network: Network) -> Address {
        Address::p2tr_tweaked(self.tree.output_key(), network)
    }

    /// The same as a standard output descriptor, without checksum.
    pub fn descriptor(&self) -> String {
        let tree = match &self.shape {
            Shape::Staking(keys, lock) => {
                let [slashing, unbonding, timelock] = fragments(keys, *lock);
                format!("{{{slashing},{{{unbonding},{timelock}}}}}")
            }
            Shape::Unbonding(keys, lock) => {
                let [slashing, _, timelock] = fragments(keys, *lock);
                format!("{{{slashing},{timelock}}}")
            }
            Shape::SlashingChange(staker, lock) => timelock_fragment(*staker, *lock),
        };
        format!("tr({},{tree})", self.tree.internal_key())
    }

    /// The script of a leaf; `None` where the output has no such leaf.
    pub fn leaf(&self, leaf: Leaf) -> Option<&ScriptBuf> {
        self.leaves.iter().find(|(kind, _)| *kind == leaf).map(|(_, script)| script)
    }

    /// What a signature over a spend by that leaf commits to (BIP-342).
    pub fn leaf_hash(&self, leaf: Leaf) -> Option<TapLeafHash> {
        Some(TapLeafHash::from_script(self.leaf(leaf)?, LeafVersion::TapScript))
    }

    /// What shows that the leaf belongs to the output.
    pub fn control_block(&self, leaf: Leaf) -> Option<ControlBlock> {
        self.tree.control_block(&(self.leaf(leaf)?.clone(), LeafVersion::TapScript))
    }

    /// Which leaf a witness script is.
    pub fn leaf_of_script(&self, script: &[u8]) -> Option<Leaf> {
        self.leaves.iter().find(|(_, own)| own.as_bytes() == script).map(|(kind, _)| *kind)
    }
}

/// The three leaves in miniscript: slashing, unbonding, timelock.
fn fragments(keys: &StakeKeys, lock: RelativeBlocks) -> [String; 3] {
    let staker = keys.staker();
    let providers: Vec<_> = keys.providers().iter().map(ProviderKey::to_string).collect();
    let members: Vec<_> = keys.committee().members().iter().map(ToString::to_string).collect();
    let providers = multisig_fragment(&providers, 1);
    let committee = multisig_fragment(&members, keys.committee().quorum());
    [
        format!("and_v(v:pk({staker}),and_v(v:{providers},{committee}))"),
        format!("and_v(v:pk({staker}),{committee})"),
        timelock_fragment(staker, lock),
    ]
}

fn timelock_fragment(staker: StakerKey, lock: RelativeBlocks) -> String {
    format!("and_v(v:pk({staker}),older({lock}))")
}

fn multisig_fragment(keys: &[String], quorum: u8) -> String {
    match keys {
        [key] => format!("pk({key})"),
        _ => format!("multi_a({quorum},{})", keys.join(",")),
    }
}
