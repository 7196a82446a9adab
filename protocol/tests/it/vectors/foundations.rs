//! Encoding, the genesis, contexts, trees, nonces, signatures, the hub's blocks and state.

use super::{array, bytes, cases, decoded, genesis, hash, hashes, json, message, pair, text, vectors, zero};
use bitcoin::{OutPoint, ScriptBuf, Witness};
use palisade_protocol::adaptor::{self, AdaptorSignature};
use palisade_protocol::anchor::Anchor;
use palisade_protocol::block::{Block, HubHeader, MessageBytes, message_tree};
use palisade_protocol::bls::BlsSecretKey;
use palisade_protocol::checkpoint;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, ChainIdentity, Purpose};
use palisade_protocol::eots::{self, EotsSignature, PublicNonce};
use palisade_protocol::governance::{Action, GovernanceMessage, Governors, message as governance_message};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::state::{Section, StateTree};
use palisade_protocol::tree::{Tree, leaf_hash, multi_root, path_root};
use palisade_protocol::units::{Epoch, Height};

const PURPOSES: [Purpose; 8] = [
    Purpose::Vote,
    Purpose::Commitment,
    Purpose::Checkpoint,
    Purpose::Registration,
    Purpose::Intent,
    Purpose::Governance,
    Purpose::Hub,
    Purpose::Covenant,
];

const SECTIONS: [Section; 9] = [
    Section::Params,
    Section::Bitcoin,
    Section::Providers,
    Section::Stakes,
    Section::Chains,
    Section::Sets,
    Section::Certificates,
    Section::Headers,
    Section::Anchors,
];

#[test]
fn the_genesis_has_the_bytes_and_the_hub_the_id() {
    let (genesis, vector) = (genesis(), vectors("genesis"));
    assert_eq!(genesis.document().to_bytes(), bytes(&vector["bytes"]));
    assert_eq!(genesis.id(), hash(&vector["hub"]));
}

#[test]
fn small_values_are_spelt_as_the_specification_says() {
    let vector = vectors("encodings");
    assert_eq!(decoded::<String>(&vector["text"]), "a ‖ b");
    assert_eq!(decoded::<ChainId>(&vector["chain_id"]).as_str(), "a-chain-0");
    assert_eq!(String::from(decoded::<ChainId>(&vector["chain_id"])), "a-chain-0");
    assert_eq!(decoded::<Option<u64>>(&vector["none"]), None);
    assert_eq!(decoded::<Option<u64>>(&vector["some_u64"]), Some(5));
    assert_eq!(decoded::<Vec<u16>>(&vector["list_u16"]), [1, 65_535]);
    assert_eq!(decoded::<ScriptBuf>(&vector["script"]), ScriptBuf::new_op_return(*b"palisade"));
    assert_eq!(decoded::<OutPoint>(&vector["outpoint"]).vout, 258);
    assert_eq!(decoded::<Witness>(&vector["witness"]), Witness::from_slice(&[&b""[..], b"abc"]));
}

#[test]
fn every_context_is_that_of_its_chain_and_purpose() {
    for case in cases("contexts") {
        let identity = ChainIdentity {
            id: json(&case["chain"]),
            genesis: json(&case["genesis"]),
            incarnation: json(&case["incarnation"]),
            ..genesis().zero()
        };
        let number: usize = json(&case["purpose"]);
        assert_eq!(identity.context(PURPOSES[number - 1]), hash(&case["context"]), "{case}");
    }
    assert_eq!(cases("contexts").len(), 3 * PURPOSES.len());
}

#[test]
fn trees_have_the_roots_paths_and_multi_proofs() {
    for case in cases("trees") {
        let leaves: Vec<_> =
            case["leaves"].as_array().unwrap().iter().map(|leaf| leaf_hash(&bytes(leaf))).collect();
        let (tree, size) = (Tree::from_leaves(leaves.clone()), leaves.len() as u64);
        let root = hash(&case["root"]);
        assert_eq!(tree.root(), root);
        for (index, expected) in case["paths"].as_array().unwrap().iter().enumerate() {
            let path = hashes(expected);
            assert_eq!(tree.path(index).as_ref(), Some(&path));
            assert_eq!(path_root(leaves[index], index as u64, size, &path), Some(root));
        }
        for multi in case["multi"].as_array().unwrap() {
            let (picks, missing): (Vec<usize>, _) = (json(&multi["picks"]), hashes(&multi["missing"]));
            assert_eq!(tree.multi_path(&picks), missing, "{picks:?} of {size}");
            let shown: Vec<_> = picks.iter().map(|at| (*at as u64, leaves[*at])).collect();
            assert_eq!(multi_root(&shown, size, &missing), Some(root));
        }
    }
}

#[test]
fn nonces_signatures_and_extracted_keys_agree() {
    for case in cases("nonces") {
        let key = pair(text(&case["name"]));
        assert_eq!(key.public().serialize(), array(&case["key"]));
        let seed = NonceSeed::from_bytes(array(&case["seed"]));
        let height = Height(json(&case["height"]));
        let derive = || nonce::derive(&key, &seed, &hash(&case["context"]), height);
        assert_eq!(derive().public(), json(&case["nonce"]));
        let nonce: PublicNonce = json(&case["nonce"]);
        let sides = ["message", "other_message"].map(|name| bytes(&case[name]));
        let signatures: [EotsSignature; 2] = [json(&case["signature"]), json(&case["other_signature"])];
        for (message, signature) in sides.iter().zip(&signatures) {
            assert_eq!(eots::sign(&key, derive(), message), *signature);
            assert_eq!(eots::verify(&key.public(), &nonce, message, signature), Ok(()));
        }
        let [a, b] = [0, 1].map(|i| (&sides[i][..], &signatures[i]));
        let extracted = eots::extract(&key.public(), &nonce, a, b).unwrap();
        assert_eq!(*extracted.secret_bytes(), array(&case["extracted"]));
    }
}

#[test]
fn adaptor_signatures_and_what_they_hide_agree() {
    for case in cases("adaptors") {
        let (signer, owner) = (pair(text(&case["signer"])), pair(text(&case["owner"])));
        let sighash = array(&case["sighash"]);
        let signature = adaptor::sign(&signer, &owner.public(), &sighash, &[0; 32]);
        assert_eq!(signature, json::<AdaptorSignature>(&case["adaptor"]));
        let decrypted = adaptor::decrypt(&signature, &owner);
        assert_eq!(decrypted.serialize().to_vec(), bytes(&case["decrypted"]));
        let recovered = adaptor::recover(&signature, &decrypted, &owner.public()).unwrap();
        assert_eq!(*recovered.secret_bytes(), *owner.secret_bytes());
    }
}

#[test]
fn decisions_are_signed_over_the_same_messages() {
    let genesis = genesis();
    let governors = genesis.governors();
    let all = Governors::new(governors.keys().to_vec(), 3).unwrap();
    for (sequence, case) in (0u64..).zip(cases("governance")) {
        let Message::Governance(decision) = message(&case["decision"]) else { panic!("another message") };
        let GovernanceMessage { action, .. } = &decision;
        let name = match action {
            Action::RegisterChain(_) => "register_chain",
            Action::SetParams(_) => "set_params",
            Action::Resume(_) => "resume",
            Action::RotateKeys(_) => "rotate_keys",
            Action::RecoveryRoot(_) => "recovery_root",
        };
        assert_eq!((name, decision.sequence), (text(&case["action"]), sequence));
        let context = zero(Purpose::Governance);
        assert_eq!(governance_message(&context, sequence, action), array(&case["message"]));
        assert_eq!(decision.verify(governors, &context), Ok(()));
        assert_ne!(decision.verify(&all, &context), Ok(()), "two signers are no quorum of three");
    }
}

#[test]
fn a_hub_block_commits_to_its_messages_and_is_signed() {
    let vector = vectors("hub");
    let ids = hashes(&vector["ids"]);
    let messages: Vec<_> = vector["messages"].as_array().unwrap().iter().map(message).collect();
    assert_eq!(messages.iter().map(Message::id).collect::<Vec<_>>(), ids);
    let block: Block = decoded(&vector["block"]);
    let header: HubHeader = decoded(&vector["header"]);
    assert_eq!(block.header, header);
    assert_eq!(block.messages, messages.iter().map(MessageBytes::of).collect::<Vec<_>>());
    assert_eq!(header.message_root, message_tree(ids).root());
    let (hash_, context) = (hash(&vector["header_hash"]), zero(Purpose::Hub));
    assert_eq!(header.hash(), hash_);
    let signing = HubHeader::signing_message(&context, &hash_);
    assert_eq!(signing, array(&vector["signing_message"]));
    assert_eq!(genesis().document().hub_key.verify(&signing, &block.signature), Ok(()));
    let (height, count) = (Height(json(&vector["batch_height"])), json(&vector["batch_count"]));
    let batch = TimestampBatch::message(&context, height, &header.state_root, count);
    assert_eq!(batch, array(&vector["batch_message"]));
}

#[test]
fn a_checkpoint_is_a_tagged_hash_of_context_epoch_and_header() {
    let vector = vectors("hub");
    let (epoch, context) = (Epoch(json(&vector["checkpoint_epoch"])), zero(Purpose::Checkpoint));
    let signed = checkpoint::message(&context, epoch, &hash(&vector["header_hash"]));
    assert_eq!(signed, array(&vector["checkpoint_message"]));
}

#[test]
fn an_anchor_names_epoch_header_and_signers() {
    let vector = vectors("hub");
    let anchor: Anchor = decoded(&vector["anchor"]);
    assert_eq!(anchor.epoch, Epoch(json(&vector["checkpoint_epoch"])));
    assert_eq!(anchor.header, hash(&vector["header_hash"]));
    assert_eq!(anchor.signers(), json::<Vec<u16>>(&vector["anchor_signers"]));
    assert_eq!(anchor.to_bytes(), bytes(&vector["anchor"]));
    let signer = BlsSecretKey::from_key_material(&sha256(&[b"bls fp 0"]).0).unwrap();
    assert_eq!(anchor.signature, signer.sign(&array::<32>(&vector["checkpoint_message"])));
}

#[test]
fn the_state_root_is_the_tree_over_the_section_roots() {
    let vector = vectors("state");
    let mut state = StateTree::default();
    let sections = vector["sections"].as_array().unwrap();
    for (section, leaves) in SECTIONS.into_iter().zip(sections) {
        for (index, leaf) in leaves.as_array().unwrap().iter().enumerate() {
            state.put(section, index, &bytes(leaf));
        }
    }
    let roots: Vec<_> = SECTIONS.map(|section| state.section(section).root()).to_vec();
    assert_eq!(roots, hashes(&vector["section_roots"]));
    assert_eq!(state.root(), hash(&vector["root"]));
}

/// What the messages of the log do to the state, the tests of the hub's ledger see to.
#[test]
fn the_blocks_of_the_log_follow_one_another_and_are_signed() {
    let (hub, context) = (genesis().document().hub_key, zero(Purpose::Hub));
    let mut previous = Hash32::ZERO;
    for (height, block) in (0u64..).zip(cases("log")) {
        let Block { header, signature, messages } = decoded(block);
        assert_eq!((header.height, header.previous), (Height(height), previous));
        assert_eq!(header.message_root, message_tree(messages.iter().map(MessageBytes::id)).root());
        previous = header.hash();
        assert_eq!(hub.verify(&HubHeader::signing_message(&context, &previous), &signature), Ok(()));
    }
}
