//! The formats of the protocol, and the judges behind them: what any program of ours may be handed by anybody.

use crate::story::{Closed, Told, dev, story};
use crate::texts::{self, json};
use crate::{Outcome, Target};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Block as BitcoinBlock, Network, ScriptBuf, Transaction, Witness};
use palisade_checkpointer::watch::recover::leaked_by;
use palisade_finality_provider::voter::scan::script_spends;
use palisade_hub::votes;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::bip322;
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::chain::{HeaderChain, HeaderRules};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::{Reader, Wire};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use palisade_protocol::governance::GovernanceMessage;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Message, StakeIncluded};
use palisade_protocol::params::{Params, ParamsDocument};
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use palisade_protocol::timestamp::TimestampFile;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{bls_secret, provider_key, secret};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "protocol-message",
        what: "a message has one encoding; one that the ledger refuses changes no state",
        corpus: || all_told().map(|told| told.bytes.as_slice().to_vec()).collect(),
        run: message,
    },
    Target {
        name: "protocol-block",
        what: "a block of a log has one encoding, and replays to the root that it claims or is refused",
        corpus: || story().closed.iter().map(|closed| closed.block.to_bytes()).collect(),
        run: block,
    },
    Target {
        name: "protocol-vote",
        what: "a vote has one encoding; judged as the hub's tally does",
        corpus: || ["dev anna", "dev bert"].map(|name| own_vote(name).to_bytes()).to_vec(),
        run: |bytes| {
            let judged = canonical::<Vote>(bytes).map(|vote| votes::judge(vec![vote], &story().world.ledger));
            judged.is_some_and(|judged| judged.iter().all(Result::is_ok)).into()
        },
    },
    Target {
        name: "protocol-share",
        what: "a share of a checkpoint has one encoding; its BLS signature is judged",
        corpus: || ["anna", "bert"].map(|name| own_share(name).to_bytes()).to_vec(),
        run: share,
    },
    Target {
        name: "protocol-decision",
        what: "a decision of governance has one encoding",
        corpus: || {
            let decision = |bytes: &MessageBytes| match bytes.decode() {
                Ok(Message::Governance(decision)) => Some(decision.to_bytes()),
                _ => None,
            };
            all_told().filter_map(|told| decision(&told.bytes)).collect()
        },
        run: |bytes| canonical::<GovernanceMessage>(bytes).is_some().into(),
    },
    Target {
        name: "protocol-proof",
        what: "a proof of finality over many epochs has one encoding, and holds or is refused",
        corpus: || vec![story().proof.to_bytes()],
        run: |bytes| {
            let proof = FinalityProof::parse(bytes).ok().filter(|proof| is_same(proof, bytes));
            proof.is_some_and(|proof| proof.verify(&story().root, &story().headers).is_ok()).into()
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
        name: "protocol-headers",
        what: "Bitcoin headers, as a light client and as a verifier of proofs take them",
        corpus: || vec![story().headers.iter().flat_map(serialize).collect()],
        run: headers,
    },
    Target {
        name: "protocol-anchor",
        what: "an anchor in the output of a transaction, and its bytes alone",
        corpus: || {
            let anchors = all_told().filter_map(|told| match told.bytes.decode() {
                Ok(Message::Anchor(proof)) => Some(proof.transaction),
                _ => None,
            });
            anchors.map(|transaction| serialize(&transaction)).collect()
        },
        run: anchor,
    },
    Target {
        name: "protocol-inclusion",
        what: "a proof that a transaction is in a Bitcoin block has one encoding, and leads there or is refused",
        corpus: || {
            let proofs = all_told().filter_map(|told| match told.bytes.decode() {
                Ok(Message::Included(StakeIncluded { proof, .. }) | Message::Anchor(proof)) => Some(proof),
                _ => None,
            });
            proofs.map(|proof| proof.to_bytes()).collect()
        },
        run: |bytes| {
            let leads = |proof: InclusionProof| {
                let bitcoin = story().whole.ledger.bitcoin();
                let known = bitcoin.height_of(&proof.block_hash).and_then(|height| bitcoin.header_at(height));
                // The reorganisation took some blocks, and with them nothing that this is about.
                let own = || story().world.chain.iter().find(|own| own.block_hash() == proof.block_hash);
                known
                    .or_else(|| own().map(|block| &block.header))
                    .is_some_and(|header| proof.check(header).is_ok())
            };
            canonical::<InclusionProof>(bytes).is_some_and(leads).into()
        },
    },
    Target {
        name: "protocol-ots",
        what: "a timestamp file (.ots) has one spelling, and attests or is refused",
        corpus: || vec![story().ots.serialize()],
        run: ots,
    },
    Target {
        name: "protocol-bip322",
        what: "a script, a text and a witness: who signed the text (BIP-322)",
        corpus: signed_texts,
        run: signed_text,
    },
    Target {
        name: "protocol-genesis",
        what: "a genesis document in JSON; the same in its canonical bytes",
        corpus: || vec![json(story().world.ledger.genesis().document())],
        run: genesis,
    },
    Target {
        name: "protocol-params",
        what: "parameters in JSON, as governance and the first start are given them",
        corpus: || vec![json(story().world.ledger.params()[0].document())],
        run: |bytes| {
            let Ok(document) = serde_json::from_slice::<ParamsDocument>(bytes) else {
                return Outcome::Refused;
            };
            assert_eq!(ParamsDocument::from_bytes(&document.to_bytes()).ok().as_ref(), Some(&document));
            Params::new(document).into()
        },
    },
    Target {
        name: "protocol-bitcoin-block",
        what: "a Bitcoin block: spends of stakes in it, keys that they give away, and proofs from it",
        corpus: || {
            let chain = &story().world.chain;
            let mut large: Vec<_> = chain.iter().filter(|block| block.txdata.len() > 1).collect();
            large.sort_by_key(|block| std::cmp::Reverse(block.txdata.len()));
            large.into_iter().take(6).map(serialize).collect()
        },
        run: bitcoin_block,
    },
    Target {
        name: "protocol-text",
        what: "names, keys and hashes as people write them, each with one spelling",
        corpus: texts::names,
        run: texts::name,
    },
];

fn all_told() -> impl Iterator<Item = &'static Told> {
    story().told.values().flatten()
}

/// Decodes a value, which has no other bytes than these.
pub(crate) fn canonical<T: Wire>(bytes: &[u8]) -> Option<T> {
    T::from_bytes(bytes).ok().filter(|value| is_same(value, bytes))
}

fn is_same(value: &impl Wire, bytes: &[u8]) -> bool {
    assert!(value.to_bytes() == bytes, "what was decoded has other bytes");
    true
}

fn message(bytes: &[u8]) -> Outcome {
    let Ok(parsed) = MessageBytes::parse(bytes) else { return Outcome::Refused };
    is_same(&parsed.decode().expect("it was parsed"), bytes);
    let ledgers = bytes.first().and_then(|kind| story().told.get(kind));
    ledgers.into_iter().flatten().any(|told| is_taken(&parsed, told)).into()
}

/// Whether a ledger takes the message. If it does not, nothing has changed.
fn is_taken(bytes: &MessageBytes, told: &Told) -> bool {
    let mut ledger = told.before.clone();
    if ledger.apply(bytes).is_ok() {
        return true;
    }
    assert_eq!(ledger.finish_block().0, told.before.clone().finish_block().0, "a refused message");
    false
}

fn block(bytes: &[u8]) -> Outcome {
    let Some(block) = canonical::<Block>(bytes) else { return Outcome::Refused };
    let fits = |closed: &&Closed| closed.block.header.height == block.header.height;
    let Some(closed) = story().closed.iter().find(fits) else { return Outcome::Refused };
    let mut ledger = closed.before.clone();
    let replayed = ledger.replay(&block);
    if replayed.is_ok() {
        assert_eq!(ledger.tip().map(|(_, hash)| hash), Some(HubHeader::hash(&block.header)));
    }
    replayed.into()
}

/// A vote that is still to come, of a provider of the other chain.
pub(crate) fn own_vote(name: &str) -> Vote {
    story().world.vote(&dev(), name, Height(205), Hash32([9; 32]))
}

/// A provider's share of the newest checkpoint.
pub(crate) fn own_share(name: &str) -> CheckpointShare {
    let world = &story().world;
    world.share(name, Epoch(8), world.ledger.own_header(Epoch(8)).expect("the epoch is over"))
}

fn share(bytes: &[u8]) -> Outcome {
    let Some(share) = canonical::<CheckpointShare>(bytes) else { return Outcome::Refused };
    let names = ["anna", "bert"].into_iter().filter(|name| provider_key(name) == share.key);
    let context = &story().world.ledger.chains()[0].checkpoint;
    names
        .map(|name| share.verify(context, &bls_secret(name).public_key()))
        .any(|judged| judged.is_ok())
        .into()
}

fn headers(bytes: &[u8]) -> Outcome {
    let chunks = bytes.chunks_exact(80);
    if !chunks.remainder().is_empty() {
        return Outcome::Refused;
    }
    let headers: Vec<Header> = chunks.filter_map(canonical).collect();
    // A light client begins with as many as the time of the next one depends on.
    let (base, next) = headers.split_at(headers.len().min(11));
    let mut chain = HeaderChain::new(HeaderRules::regtest(), story().proof.headers_from, base);
    let accepted = chain.as_mut().is_ok_and(|chain| chain.accept(next).is_ok());
    (accepted && story().proof.verify(&story().root, &headers).is_ok()).into()
}

fn anchor(bytes: &[u8]) -> Outcome {
    let alone = canonical::<Anchor>(bytes);
    let found =
        deserialize::<Transaction>(bytes).ok().and_then(|transaction| Anchor::find(&transaction).ok());
    let found = found.map(|(_, anchor)| anchor);
    let Some(anchor) = found.or(alone) else { return Outcome::Refused };
    assert!(anchor.signers().len() <= bytes.len() * 8);
    let ledger = &story().world.ledger;
    (ledger.judge_anchor(&anchor).is_ok() || ledger.own_header(anchor.epoch) == Some(anchor.header)).into()
}

fn ots(bytes: &[u8]) -> Outcome {
    let Ok(file) = TimestampFile::parse(bytes) else { return Outcome::Refused };
    assert!(file.serialize() == bytes, "a timestamp file has other bytes");
    let header = |height: u32| story().world.chain.get(height as usize).map(|block| block.header);
    file.verify(&file.digest(), header).into()
}

fn signed_texts() -> Vec<Vec<u8>> {
    let (key, text) = (secret("anna"), "a text\n".to_owned());
    let taproot = palisade_world::address("anna");
    let public = bitcoin::CompressedPublicKey(key.public_key(bitcoin::secp256k1::SECP256K1));
    let segwit = ScriptBuf::new_p2wpkh(&public.wpubkey_hash());
    let signed = [
        (taproot, bip322::sign_p2tr_key_path(&key, text.as_bytes(), &[7; 32])),
        (segwit, bip322::sign_p2wpkh(&key, text.as_bytes())),
    ];
    let bytes = |(script, witness): (ScriptBuf, Result<Witness, _>)| {
        [script.to_bytes(), Wire::to_bytes(&text), serialize(&witness.expect("a signature"))].concat()
    };
    let as_wire = |(script, witness)| {
        let script: ScriptBuf = script;
        bytes((script, witness))
    };
    signed.map(as_wire).to_vec()
}

fn signed_text(bytes: &[u8]) -> Outcome {
    let mut reader = Reader::new(bytes);
    let (Ok(script), Ok(text)) = (ScriptBuf::decode(&mut reader), String::decode(&mut reader)) else {
        return Outcome::Refused;
    };
    let witness = reader.take(reader.left()).ok().and_then(|rest| bip322::witness_from_bytes(rest).ok());
    witness.is_some_and(|witness| bip322::verify(&script, text.as_bytes(), &witness).is_ok()).into()
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

fn bitcoin_block(bytes: &[u8]) -> Outcome {
    let Ok(block) = deserialize::<BitcoinBlock>(bytes) else { return Outcome::Refused };
    let spends = script_spends(&block);
    assert!(spends.len() <= block.txdata.iter().map(|tx| tx.input.len()).sum());
    for tx in &block.txdata {
        leaked_by(&story().world.ledger, tx);
        let _ = Anchor::find(tx);
    }
    let last = u32::try_from(block.txdata.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let proof = InclusionProof::from_block(&block, last);
    if let Ok(proof) = &proof {
        assert_eq!(canonical::<InclusionProof>(&proof.to_bytes()).as_ref(), Some(proof));
    }
    proof.into()
}
