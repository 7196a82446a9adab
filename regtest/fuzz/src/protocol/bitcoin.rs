//! What is read of Bitcoin: headers and blocks, proofs that something is in them, anchors, and signatures by Bitcoin's keys.

use super::{all_told, canonical};
use crate::story::story;
use crate::{Outcome, Target};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Block as BitcoinBlock, ScriptBuf, Transaction, Witness};
use palisade_checkpointer::watch::recover::leaked_by;
use palisade_finality_provider::voter::scan::script_spends;
use palisade_hub::ledger::Ledger;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::bip322;
use palisade_protocol::chain::{HeaderChain, HeaderRules};
use palisade_protocol::codec::{Reader, Wire};
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Message, StakeIncluded};
use palisade_protocol::timestamp::TimestampFile;
use palisade_world::secret;

pub(crate) const TARGETS: &[Target] = &[
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
        run: |bytes| canonical::<InclusionProof>(bytes).is_some_and(|proof| leads(&proof)).into(),
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
];

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

/// Whether a proof holds in a Bitcoin block of the story.
fn leads(proof: &InclusionProof) -> bool {
    let of_ledger = |ledger: &Ledger| {
        let bitcoin = ledger.bitcoin();
        let height = bitcoin.height_of(&proof.block_hash)?;
        bitcoin.header_at(height).copied()
    };
    // The reorganisation took some blocks, and with them nothing that this is about.
    let own = || story().world.chain.iter().find(|own| own.block_hash() == proof.block_hash);
    let known = of_ledger(&story().whole.ledger).or_else(|| of_ledger(&story().lost.ledger));
    known.or_else(|| own().map(|block| block.header)).is_some_and(|header| proof.check(&header).is_ok())
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
