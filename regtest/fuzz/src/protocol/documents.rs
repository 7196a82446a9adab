//! Files that people hand on: proofs with their roots, a genesis, parameters; and the words in them.

use super::{canonical, is_same};
use crate::story::story;
use crate::texts::{self, json};
use crate::{Outcome, Target};
use bitcoin::Network;
use palisade_hub::ledger::Ledger;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use palisade_protocol::params::{Params, ParamsDocument};
use palisade_protocol::proof::{FinalityProof, TrustRoot};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "protocol-proof",
        what: "a proof of finality over many epochs has one encoding, and holds or is refused",
        corpus: || [&story().proof, &story().young.0].map(|proof| proof.to_bytes()).to_vec(),
        run: |bytes| {
            let proof = FinalityProof::parse(bytes).ok().filter(|proof| is_same(proof, bytes));
            let headers = [&story().headers, &story().young.1];
            let holds = |proof: FinalityProof| {
                headers.into_iter().any(|headers| proof.verify(&story().root, headers).is_ok())
            };
            proof.is_some_and(holds).into()
        },
    },
    Target {
        name: "protocol-root",
        what: "a trust root has one encoding, and the proof holds under it or is refused",
        corpus: || vec![story().root.to_bytes()],
        run: |bytes| {
            let holds = |root: &TrustRoot| story().proof.verify(root, &story().headers).is_ok();
            canonical::<TrustRoot>(bytes).as_ref().is_some_and(holds).into()
        },
    },
    Target {
        name: "protocol-genesis",
        what: "a genesis document in JSON; the same in its canonical bytes",
        corpus: || both().map(|ledger| json(ledger.genesis().document())).to_vec(),
        run: genesis,
    },
    Target {
        name: "protocol-params",
        what: "parameters in JSON, as governance and the first start are given them",
        corpus: || both().map(|ledger| json(ledger.params()[0].document())).to_vec(),
        run: |bytes| {
            let Ok(document) = serde_json::from_slice::<ParamsDocument>(bytes) else {
                return Outcome::Refused;
            };
            assert_eq!(ParamsDocument::from_bytes(&document.to_bytes()).ok().as_ref(), Some(&document));
            Params::new(document).into()
        },
    },
    Target {
        name: "protocol-text",
        what: "names, keys and hashes as people write them, each with one spelling",
        corpus: texts::names,
        run: texts::name,
    },
];

/// The ledgers of the story: of either profile of presigned transactions one.
fn both() -> [&'static Ledger; 2] {
    [&story().world.ledger, &story().lost.ledger]
}

fn genesis(bytes: &[u8]) -> Outcome {
    let Ok(document) = serde_json::from_slice::<GenesisDocument>(bytes) else { return Outcome::Refused };
    let Ok(genesis) = Genesis::new(document) else { return Outcome::Refused };
    let own = genesis.document();
    assert_eq!(GenesisDocument::from_bytes(&own.to_bytes()).ok().as_ref(), Some(own));
    let again: GenesisDocument = serde_json::from_slice(&json(own)).expect("our own JSON");
    assert_eq!(Genesis::new(again).map(|again| again.id()).ok(), Some(genesis.id()));
    assert_ne!(genesis.network(), Network::Testnet);
    assert!(genesis.zero().id == ChainId::zero());
    Outcome::Accepted
}
