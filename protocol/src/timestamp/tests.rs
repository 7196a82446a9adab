use super::*;
use crate::codec::DecodeError;
use crate::hash::sha256;
use crate::tree::{Tree, leaf_hash};
use bitcoin::consensus::encode::deserialize;
use bitcoin::{BlockHash, CompactTarget, Transaction, Witness, block::Version};
use proptest::prelude::*;
use serde_json::Value;

/// Files written by the Python library (tests/vectors/ots/make.py). If one is no longer read, or is written otherwise,
/// the standard client and we no longer understand each other.
const ANCHORED: &[u8] = include_bytes!("../../tests/vectors/ots/anchored.ots");
const FORKED: &[u8] = include_bytes!("../../tests/vectors/ots/forked.ots");
const READABLE: [(&str, &[u8]); 6] = [
    ("anchored", ANCHORED),
    ("pending", include_bytes!("../../tests/vectors/ots/pending.ots")),
    ("forked", FORKED),
    ("odd_ops", include_bytes!("../../tests/vectors/ots/odd_ops.ots")),
    ("longest", include_bytes!("../../tests/vectors/ots/longest.ots")),
    ("deepest", include_bytes!("../../tests/vectors/ots/deepest.ots")),
];
const TOO_DEEP: &[u8] = include_bytes!("../../tests/vectors/ots/too_deep.ots");
const KECCAK: &[u8] = include_bytes!("../../tests/vectors/ots/keccak.ots");
/// A real proof, and the real header of the block that it reaches.
const HELLO_WORLD: &[u8] = include_bytes!("../../tests/vectors/ots/hello-world.ots");
const BLOCK_358391: &str = "02000000b96394585a281b7e5f438fd1c9ed492645a1fd61cb380204000000000000000\
    0007ee445d23ad061af4a36b809501fab1ac4f2d7e7a739817dd0cbb7ec661b8a1e376755f58616186272def6";

fn cases() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/ots/cases.json")).unwrap()
}

fn hash(hex: &Value) -> Hash32 {
    hex.as_str().unwrap().parse().unwrap()
}

fn hashes(list: &Value) -> Vec<Hash32> {
    list.as_array().unwrap().iter().map(hash).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().unwrap()).unwrap()
}

fn header(root: Hash32) -> Header {
    Header {
        version: Version::ONE,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::from_byte_array(root.0),
        time: 0,
        bits: CompactTarget::from_consensus(0),
        nonce: 0,
    }
}

/// The headers that a fixture's ends belong to.
fn headers(case: &Value) -> impl Fn(u32) -> Option<Header> {
    let known: Vec<(u64, Hash32)> = case["bitcoin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|end| (end["height"].as_u64().unwrap(), hash(&end["merkle_root"])))
        .collect();
    move |height| known.iter().find(|(at, _)| *at == u64::from(height)).map(|(_, root)| header(*root))
}

#[test]
fn files_of_the_python_library_are_read_verified_and_written_back() {
    let cases = cases();
    for (name, file) in READABLE {
        let case = &cases[name];
        let parsed = TimestampFile::parse(file).unwrap();
        assert_eq!(parsed.serialize(), file, "{name}");
        assert_eq!(parsed.digest(), hash(&case["digest"]), "{name}");
        let lowest =
            case["bitcoin"].as_array().unwrap().iter().map(|end| end["height"].as_u64().unwrap()).min();
        let oldest =
            parsed.verify(&hash(&case["digest"]), headers(case)).map(|found| u64::from(found.height));
        assert_eq!(oldest, lowest.ok_or(NotAttested::NoBitcoinBlock), "{name}");
    }
}

#[test]
fn a_real_proof_holds_at_its_block() {
    let header: Header = deserialize(&hex::decode(BLOCK_358391).unwrap()).unwrap();
    let name = "000000000000000003e892881a8cdcdc117c06d444057c98b6f04a9ee75a2319";
    assert_eq!(header.block_hash().to_string(), name);
    let file = TimestampFile::parse(HELLO_WORLD).unwrap();
    assert_eq!(file.serialize(), HELLO_WORLD);
    let found = file.verify(&sha256(&[b"Hello World!\n"]), |height| (height == 358_391).then_some(header));
    assert_eq!(found, Ok(Attested { height: 358_391, header }));
}

/// Every input of `anchored.ots`, through the builder.
fn anchored(case: &Value) -> Result<TimestampFile, PathRefused> {
    let mut path = Path::new(hash(&case["digest"]));
    for tree in case["trees"].as_array().unwrap() {
        let (index, size) = (tree["index"].as_u64().unwrap(), tree["size"].as_u64().unwrap());
        path = path.tree(index, size, &hashes(&tree["siblings"]))?;
    }
    let mut transaction: Transaction = deserialize(&bytes(&case["transaction"])).unwrap();
    // The witness stands in no id, and so in no file.
    transaction.input[0].witness = Witness::from_slice(&[[7; 64]]);
    let siblings: Vec<_> =
        hashes(&case["siblings"]).iter().map(|h| TxMerkleNode::from_byte_array(h.0)).collect();
    let position = case["position"].as_u64().unwrap().try_into().unwrap();
    path.step(&bytes(&case["prefix"]), &bytes(&case["suffix"]))?
        .transaction(&transaction)?
        .block(position, &siblings)?
        .attest(1234)
}

#[test]
fn the_builder_writes_what_the_python_library_writes() {
    let case = &cases()["anchored"];
    assert_eq!(hex::encode(anchored(case).unwrap().serialize()), hex::encode(ANCHORED));
}

#[test]
fn every_flipped_bit_of_a_file_is_noticed() {
    let case = &cases()["anchored"];
    let digest = hash(&case["digest"]);
    for at in 0..ANCHORED.len() * 8 {
        let mut file = ANCHORED.to_vec();
        file[at / 8] ^= 1 << (at % 8);
        let holds = TimestampFile::parse(&file).is_ok_and(|file| file.verify(&digest, headers(case)).is_ok());
        assert!(!holds, "bit {at}");
    }
}

#[test]
fn a_file_that_ends_early_or_late_is_refused() {
    for end in 0..FORKED.len() {
        assert!(TimestampFile::parse(&FORKED[..end]).is_err(), "{end} bytes");
    }
    let trailing = [FORKED, &[0]].concat();
    assert_eq!(TimestampFile::parse(&trailing), Err(DecodeError::Trailing(1).into()));
}

#[test]
fn what_a_file_proves_depends_on_the_headers_that_are_known() {
    let case = &cases()["forked"];
    let (file, digest) = (TimestampFile::parse(FORKED).unwrap(), hash(&case["digest"]));
    let all = headers(case);
    let only =
        |height: u32| file.verify(&digest, |at| all(at).filter(|_| at == height)).map(|found| found.height);
    assert_eq!(only(700_000), Ok(700_000));
    assert_eq!(only(300), Ok(300));
    assert_eq!(file.verify(&digest, |_| None), Err(NotAttested::HeaderUnknown { height: 300 }));

    let other = Hash32([1; 32]);
    let refused = NotAttested::OtherDigest { found: digest, wanted: other };
    assert_eq!(file.verify(&other, &all), Err(refused));
    // One end at a block that was reorged away spoils the file, even if another holds.
    let reorged = |at| if at == 700_000 { Some(header(other)) } else { all(at) };
    let refused = NotAttested::OtherRoot { height: 700_000, found: digest, wanted: other };
    assert_eq!(file.verify(&digest, reorged), Err(refused));
}

/// A file about 32 zero bytes with this timestamp.
fn file(timestamp: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &[1, op::SHA256], &[0; 32], timestamp].concat()
}

const BITCOIN_5: [u8; 11] = [0, 0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01, 1, 5];
const PENDING_TAG: [u8; 9] = [0, 0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];

#[test]
fn each_rule_of_the_format_has_a_file_that_breaks_only_it() {
    let parse = |timestamp: &[&[u8]]| TimestampFile::parse(&file(&timestamp.concat())).map(|_| ());
    let bitcoin_5 = &BITCOIN_5[..];
    let attested = |payload: &[u8]| [&BITCOIN_5[..9], &[payload.len() as u8], payload].concat();
    let too_long = |found, max| Err(OtsInvalid::AttestationTooLong { found, max });
    assert_eq!(parse(&[bitcoin_5]), Ok(()));
    for (timestamp, wanted) in [
        (&[&[0x09][..], bitcoin_5][..], Err(OtsInvalid::UnknownOp { found: 0x09 })),
        (&[&[FORK, FORK], bitcoin_5], Err(OtsInvalid::UnknownOp { found: FORK })),
        (&[&[FORK], bitcoin_5], Err(DecodeError::Truncated { wanted: 1, left: 0 }.into())),
        (&[&[0xf0, 0], bitcoin_5], Err(OtsInvalid::ArgumentLength { found: 0 })),
        (&[&[0xf1, 0x81, 0x20]], Err(OtsInvalid::ArgumentLength { found: 4097 })),
        (&[&[0xf0, 0xe1, 0x1f], &[0; 4065], bitcoin_5], Err(OtsInvalid::ResultTooLong { found: 4097 })),
        (&[&[0xf3; 8], bitcoin_5], Err(OtsInvalid::ResultTooLong { found: 8192 })),
        (&[&[0xf3; 7], bitcoin_5], Ok(())),
        (&[&[0xf2; OPS_MAX], bitcoin_5], Ok(())),
        (&[&[0xf2; OPS_MAX + 1], bitcoin_5], Err(OtsInvalid::TooDeep)),
        (&[&attested(&[0x80, 0])], Err(OtsInvalid::Number)),
        (&[&attested(&[5, 0])], Err(DecodeError::Trailing(1).into())),
        (&[&attested(&[0xff, 0xff, 0xff, 0xff, 0x0f])], Ok(())),
        (&[&attested(&[0x80, 0x80, 0x80, 0x80, 0x10])], Err(OtsInvalid::Height { found: 1 << 32 })),
        (&[&[0], &[9; 8], &[0x81, 0x40]], too_long(8193, 8192)),
        (&[&PENDING_TAG, &[2, 0xe9, 0x07]], too_long(1001, 1000)),
        (&[&PENDING_TAG, &[4, 3], b"a?b"], Err(OtsInvalid::CalendarAddress { found: b'?' })),
        (&[&PENDING_TAG, &[5, 3], b"a/bc"], Err(DecodeError::Trailing(1).into())),
    ] {
        assert_eq!(parse(timestamp), wanted, "{timestamp:x?}");
    }
}

#[test]
fn the_head_of_a_file_is_checked() {
    let good = file(&BITCOIN_5);
    let altered = |at: usize, byte: u8| {
        let mut file = good.clone();
        file[at] = byte;
        TimestampFile::parse(&file).map(|_| ())
    };
    assert_eq!(altered(0, 0), Ok(()));
    assert_eq!(altered(30, 0x95), Err(OtsInvalid::Magic));
    assert_eq!(altered(31, 2), Err(OtsInvalid::Version { found: 2 }));
    assert_eq!(altered(32, 0x02), Err(OtsInvalid::FileHash { found: 0x02 }));
    assert_eq!(TimestampFile::parse(&[0; FILE_MAX]), Err(OtsInvalid::Magic));
    let long = vec![0; FILE_MAX + 1];
    assert_eq!(TimestampFile::parse(&long), Err(OtsInvalid::FileTooLong { found: FILE_MAX + 1 }));
    assert_eq!(TimestampFile::parse(TOO_DEEP), Err(OtsInvalid::TooDeep));
    assert_eq!(TimestampFile::parse(KECCAK), Err(OtsInvalid::UnknownOp { found: 0x67 }));
}

#[test]
fn a_message_that_is_no_hash_attests_nothing() {
    let file = TimestampFile::parse(&file(&[&[0xf3][..], &BITCOIN_5].concat())).unwrap();
    let refused = NotAttested::NotARoot { height: 5, length: 64 };
    assert_eq!(file.verify(&Hash32::ZERO, |_| Some(header(Hash32::ZERO))), Err(refused));
}

fn spending(script_len: usize, payload: &[u8]) -> Transaction {
    let transaction: Transaction = deserialize(&bytes(&cases()["anchored"]["transaction"])).unwrap();
    let mut output = transaction.output[0].clone();
    output.script_pubkey = [payload, &vec![0x61; script_len]].concat().into();
    Transaction { output: vec![output], ..transaction }
}

#[test]
fn a_way_that_the_standard_client_would_not_read_is_not_written() {
    let path = || Path::new(Hash32([3; 32]));
    let too_long = |result: Result<Path, PathRefused>| match result {
        Err(PathRefused::MessageTooLong { found }) => found,
        other => panic!("{other:?}"),
    };
    assert!(path().step(&[0; MESSAGE_MAX - 32], &[]).is_ok());
    assert_eq!(too_long(path().step(&[0; MESSAGE_MAX - 31], &[])), MESSAGE_MAX + 1);
    assert_eq!(too_long(path().step(&[0; 2000], &[0; MESSAGE_MAX - 2031])), MESSAGE_MAX + 1);
    assert_eq!(
        too_long(path().transaction(&spending(MESSAGE_MAX, &[3; 32]))),
        spending(MESSAGE_MAX, &[3; 32]).base_size()
    );
    // Beside its script.
    let beside = spending(MESSAGE_MAX, &[3; 32]).base_size() - MESSAGE_MAX;
    let fits = spending(MESSAGE_MAX - beside, &[3; 32]);
    assert_eq!(fits.base_size(), MESSAGE_MAX);
    assert!(path().transaction(&fits).is_ok());
    assert_eq!(too_long(path().transaction(&spending(MESSAGE_MAX - beside + 1, &[3; 32]))), MESSAGE_MAX + 1);
    assert_eq!(path().transaction(&spending(40, &[4; 32])), Err(PathRefused::NotInTransaction));
    assert_eq!(path().tagged("tag", &[4; 64]), Err(PathRefused::NotInBytes));
    assert!(path().tagged("tag", &[&[4][..], &[3; 32], &[5]].concat()).is_ok());

    let longest = (0..OPS_MAX).try_fold(path(), |path, _| path.step(&[], &[])).unwrap();
    let read = TimestampFile::parse(&longest.clone().attest(1).unwrap().serialize()).unwrap();
    assert_eq!(read, longest.clone().attest(1).unwrap());
    assert_eq!(longest.step(&[], &[]), Err(PathRefused::TooManyOps { found: OPS_MAX + 1 }));

    let bulky = (0..20).try_fold(path(), |path, _| path.step(&[0; 4000], &[])).unwrap();
    assert!(matches!(bulky.attest(1), Err(PathRefused::FileTooLong { found }) if found > 20 * 4000));
}

#[test]
fn a_path_of_another_shape_is_refused() {
    let path = || Path::new(Hash32([3; 32]));
    for (index, size, siblings) in
        [(0, 0, 0), (5, 5, 1), (0, 1, 1), (0, 5, 2), (0, 5, 4), (4, 5, 2), (4, 5, 0)]
    {
        let refused = PathRefused::TreeShape { index, siblings };
        assert_eq!(path().tree(index, size, &vec![Hash32::ZERO; siblings]), Err(refused));
    }
    let refused = PathRefused::TreeShape { index: 4, siblings: 2 };
    assert_eq!(path().block(4, &[TxMerkleNode::all_zeros(); 2]), Err(refused));
}

proptest! {
    #[test]
    fn the_way_through_a_tree_ends_at_its_root(leaves in prop::collection::vec(prop::array::uniform32(any::<u8>()), 1..40), pick in any::<prop::sample::Index>()) {
        let tree = Tree::from_leaves(leaves.iter().map(|leaf| leaf_hash(leaf)));
        let at = pick.index(leaves.len());
        let siblings = tree.path(at).unwrap();
        let path = Path::new(Hash32(leaves[at])).tree(at as u64, leaves.len() as u64, &siblings).unwrap();
        prop_assert_eq!(path.message(), &tree.root().0[..]);
    }

    #[test]
    fn the_way_through_a_block_ends_at_its_merkle_root(count in 1usize..20, pick in any::<prop::sample::Index>()) {
        let transactions: Vec<_> = (0..count).map(|i| spending(i, &[3; 32])).collect();
        let mut level: Vec<_> = transactions.iter().map(|tx| TxMerkleNode::from(tx.compute_txid())).collect();
        let root = bitcoin::merkle_tree::calculate_root(level.iter().copied()).unwrap();
        let at = pick.index(count);
        let (mut index, mut siblings) = (at, Vec::new());
        while level.len() > 1 {
            if level.len() % 2 == 1 { level.push(level[level.len() - 1]); }
            siblings.push(level[index ^ 1]);
            level = level.chunks(2).map(|pair| bitcoin::merkle_tree::calculate_root(pair.iter().copied()).unwrap()).collect();
            index /= 2;
        }
        let path = Path::new(Hash32([3; 32])).transaction(&transactions[at]).unwrap();
        let file = path.block(at as u32, &siblings).unwrap().attest(9).unwrap();
        let found = file.verify(&Hash32([3; 32]), |_| Some(header(Hash32(root.to_byte_array()))));
        prop_assert_eq!(found.map(|found| found.height), Ok(9));
        prop_assert_eq!(TimestampFile::parse(&file.serialize()), Ok(file));
    }

    #[test]
    fn what_is_read_is_written_back_whatever_the_bytes(
        name in 0usize..READABLE.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let original = READABLE[name].1;
        let mut file = original.to_vec();
        for (at, byte) in edits { file[65 + at.index(original.len() - 65)] = byte; }
        let cut = 65 + cut.index(original.len() - 64);
        for bytes in [file.clone(), [&file[..cut], &noise, &file[cut..]].concat(), [&file[..cut], &noise].concat()] {
            if let Ok(parsed) = TimestampFile::parse(&bytes) {
                prop_assert_eq!(parsed.serialize(), bytes);
                let _ = parsed.verify(&parsed.digest(), |_| Some(header(Hash32::ZERO)));
            }
        }
    }
}
