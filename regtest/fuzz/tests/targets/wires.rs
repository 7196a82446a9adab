//! Every type with canonical bytes is decoded by a target: as the whole of an input, or as part of one.

use palisade_fuzz::find;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The types, by the target whose inputs hold them.
const WIRES: &[(&str, &str)] = &[
    (
        "protocol-message",
        "Message Headers ProviderRegistration BlsRegistration Backing StakeRegistration RegistrationProof ConfirmedStake \
         CovenantAnswer Verdict StakeSignatures Refusal ExpansionConsent StakeIncluded OutputSpent Commitment Certificate Voter \
         Member SetHeader Ballot Evidence Equivocation SignedBallot LeakedKey TimestampBatch Presigned StakeId Hash32 \
         BlsPublicKey BlsSignature BlsPossession AdaptorSignature EotsSignature PublicNonce Transaction ScriptBuf Witness \
         OutPoint Header Amount Signature String bool u8 u16 u32 u64 Txid BlockHash StakerKey ProviderKey CovenantKey Height \
         Epoch BtcHeight RelativeBlocks Box Option Vec [u8;N]",
    ),
    (
        "protocol-decision",
        "GovernanceMessage GovernanceSignature GovernanceKey Action NewChain Resume AcceptedPower Governors Recovery FinalBlock \
         ParamsDocument Profile BasisPoints Terms ChainId",
    ),
    ("protocol-block", "Block HubHeader MessageBytes"),
    ("protocol-vote", "Vote"),
    ("protocol-share", "CheckpointShare"),
    ("protocol-anchor", "Anchor"),
    ("protocol-inclusion", "InclusionProof"),
    ("protocol-root", "TrustRoot"),
    (
        "protocol-proof",
        "FinalityProof Step Under Checkpoint CheckpointSigner ChainBlock ProvenState Sibling LeafPath [Hash32;SECTIONS]",
    ),
    ("protocol-genesis", "GenesisDocument Magic HeaderHex HubKey"),
    ("signer-socket", "Request RegisterRequest CommitRequest VoteRequest CheckpointRequest"),
    ("signer-answer", "Answer Identity ChainKey LastVote Registered"),
];

/// Rust sources of the product, without their tests.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in ["protocol", "hub", "staker", "covenant", "finality-provider", "checkpointer"] {
        read_all(&root.join(folder).join("src"), &root, &mut found);
    }
    assert!(found.len() > 150, "{} sources", found.len());
    found
}

fn read_all(folder: &Path, root: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if ["tests", "tests.rs", "model", "model.rs", "testing.rs", "fixtures.rs", "babylon.rs"]
            .contains(&name)
        {
            continue;
        }
        if path.is_dir() {
            read_all(&path, root, found);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.strip_prefix(root).unwrap().to_owned(), code));
        }
    }
}

/// The word at the beginning of a text.
fn word(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|word| word.starts_with(|c: char| c.is_uppercase()))
}

/// Types that a macro or an `impl` gives canonical bytes.
fn decoded() -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for (_, code) in sources() {
        for mark in ["wire!(", "wire_enum!(", "byte_value!(", " Wire for "] {
            types.extend(code.split(mark).skip(1).filter_map(word).map(str::to_owned));
        }
        for mark in ["\nheight! {", "\nranged! {", "\nrole! {"] {
            let names = code.split(mark).skip(1).filter_map(|rest| {
                rest.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("///"))
            });
            types.extend(names.filter_map(word).map(str::to_owned));
        }
    }
    types
}

#[test]
fn every_type_with_canonical_bytes_is_decoded_by_a_target() {
    let listed: BTreeSet<&str> = WIRES.iter().flat_map(|(_, types)| types.split_whitespace()).collect();
    let decoded = decoded();
    for known in
        ["Message", "Vote", "FinalityProof", "ChainId", "Height", "ProviderKey", "BasisPoints", "Request"]
    {
        assert!(decoded.contains(known), "{known} was not found: {decoded:?}");
    }
    let missing: Vec<_> = decoded.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no target decodes {missing:?}: add them here, and to a corpus");
    for (target, _) in WIRES {
        assert!(find(target).is_some(), "there is no target {target}");
    }
}
