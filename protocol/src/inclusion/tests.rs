use super::*;
use crate::codec::Wire as _;
use InclusionRefused::*;
use bitcoin::block::Version;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{
    Amount, CompactTarget, OutPoint, ScriptBuf, Sequence, TxIn, TxMerkleNode, TxOut, Witness, absolute,
    transaction,
};

/// A transaction like no other with another number; its input carries a witness.
fn transaction(number: u32) -> Transaction {
    let output = TxOut { value: Amount::from_sat(5_000), script_pubkey: ScriptBuf::from(vec![0x51; 34]) };
    let input = TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array([3; 32]), vout: number },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[[7; 64]]),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::from_consensus(number),
        input: vec![input],
        output: vec![output],
    }
}

fn coinbase() -> Transaction {
    let mut coinbase = transaction(0);
    coinbase.input[0].previous_output = OutPoint::null();
    coinbase.input[0].script_sig = ScriptBuf::from(vec![3, 1, 2, 3]);
    coinbase
}

/// A block with these transactions, whose root is computed by the bitcoin crate.
fn block_of(txdata: Vec<Transaction>) -> Block {
    let header = Header {
        version: Version::TWO,
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 1,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

/// A block with a coinbase and as many others as make `count`.
fn block(count: u32) -> Block {
    block_of(std::iter::once(coinbase()).chain((1..count).map(transaction)).collect())
}

fn txid_bytes(tx: &Transaction) -> [u8; 32] {
    tx.compute_txid().to_byte_array()
}

/// What the forger's path leads to, computed with no rule at all.
fn naive_root(tx: &Transaction, index: u32, path: &[[u8; 32]]) -> TxMerkleNode {
    let mut hash = txid_bytes(tx);
    for (level, sibling) in path.iter().enumerate() {
        let pair = if index >> level & 1 == 0 { [hash, *sibling] } else { [*sibling, hash] };
        hash = sha256d::Hash::hash(&pair.concat()).to_byte_array();
    }
    TxMerkleNode::from_byte_array(hash)
}

#[test]
fn every_transaction_of_a_block_is_proven_at_its_index() {
    for count in 1..=20 {
        let block = block(count);
        for index in 0..count {
            let proof = InclusionProof::from_block(&block, index).unwrap();
            let txid = block.txdata[index as usize].compute_txid();
            assert_eq!(proof.check(&block.header), Ok(txid), "{index} of {count}");
            assert_eq!(proof.is_coinbase(), index == 0);
            assert_eq!(proof.path.len(), (32 - (count - 1).leading_zeros()) as usize);
            assert_eq!(InclusionProof::from_bytes(&proof.to_bytes()), Ok(proof));
        }
        let missing = NoTransaction { index: count, count: count as usize };
        assert_eq!(InclusionProof::from_block(&block, count), Err(missing));
    }
}

#[test]
fn a_block_whose_header_commits_to_other_transactions_yields_no_proof() {
    let mut block = block(5);
    block.txdata[4] = transaction(9);
    assert_eq!(InclusionProof::from_block(&block, 1), Err(WrongRoot(Leaf::Coinbase)));
    block.txdata.clear();
    assert_eq!(InclusionProof::from_block(&block, 0), Err(NoTransaction { index: 0, count: 0 }));
}

#[test]
fn a_proof_with_any_field_altered_is_refused() {
    for count in 2..=20 {
        let block = block(count);
        for index in 1..count {
            let good = InclusionProof::from_block(&block, index).unwrap();
            let check = |alter: &dyn Fn(&mut InclusionProof), expected: InclusionRefused| {
                let mut bad = good.clone();
                alter(&mut bad);
                assert_eq!(bad.check(&block.header), Err(expected), "{index} of {count}");
            };
            let other = BlockHash::from_byte_array([1; 32]);
            check(&|p| p.block_hash = other, OtherBlock { claimed: other, found: good.block_hash });
            check(&|p| p.transaction = without_witness(&transaction(99)), WrongRoot(Leaf::Proven));
            check(&|p| p.transaction = transaction(index), Witness(Leaf::Proven));
            check(
                &|p| p.coinbase.lock_time = absolute::LockTime::from_consensus(9),
                WrongRoot(Leaf::Coinbase),
            );
            check(&|p| p.coinbase = coinbase(), Witness(Leaf::Coinbase));
            check(&|p| p.coinbase = p.transaction.clone(), CoinbaseOutOfPlace(0));
            check(&|p| p.index = 0, CoinbaseOutOfPlace(0));
            check(&|p| p.transaction = p.coinbase.clone(), CoinbaseOutOfPlace(index));
            let depth = good.path.len();
            for level in 0..depth {
                check(&|p| p.path[level][31] ^= 1, WrongRoot(Leaf::Proven));
                check(&|p| p.coinbase_path[level][0] ^= 1, WrongRoot(Leaf::Coinbase));
                check(&|p| _ = p.path.remove(level), differ(depth - 1, depth));
                check(&|p| p.coinbase_path.push([0; 32]), differ(depth, depth + 1));
            }
            for far in [1 << depth, index + (1 << depth), 1 << 31] {
                check(&|p| p.index = far, IndexBeyondTree { index: far, depth });
            }
        }
    }
}

fn differ(path: usize, coinbase_path: usize) -> InclusionRefused {
    DepthsDiffer { path, coinbase_path }
}

#[test]
fn a_header_of_another_block_with_the_same_transactions_is_refused() {
    let block = block(7);
    let proof = InclusionProof::from_block(&block, 3).unwrap();
    let header = Header { nonce: 1, ..block.header };
    let refused = OtherBlock { claimed: block.block_hash(), found: header.block_hash() };
    assert_eq!(proof.check(&header), Err(refused));
}

#[test]
fn a_path_longer_than_any_tree_is_refused_before_anything_is_hashed() {
    let block = block(2);
    let good = InclusionProof::from_block(&block, 1).unwrap();
    let check = |path: usize, coinbase_path: usize, expected| {
        let (path, coinbase_path) = (vec![[0; 32]; path], vec![[0; 32]; coinbase_path]);
        let bad = InclusionProof { path, coinbase_path, ..good.clone() };
        assert_eq!(bad.check(&block.header), Err(expected));
    };
    check(33, 33, PathTooLong(33));
    check(1, 40, PathTooLong(40));
    check(8_192, 1, PathTooLong(8_192));
    check(32, 32, WrongRoot(Leaf::Coinbase));
}

#[test]
fn each_transaction_has_one_index_whatever_the_repeated_hashes_pretend() {
    for count in 2..=20_u32 {
        let block = block(count);
        let depth = InclusionProof::from_block(&block, 0).unwrap().path.len();
        // The tree as it would be if every repetition were real: a leaf for each index of its depth.
        let mut forged = 0;
        for index in count..1 << depth {
            let Some((real, path)) = repeated(&block, index, depth) else { continue };
            let good = InclusionProof::from_block(&block, real).unwrap();
            let bad = InclusionProof { index, path, ..good };
            assert_eq!(naive_root(&bad.transaction, index, &bad.path), block.header.merkle_root);
            let refused = bad.check(&block.header);
            assert!(matches!(refused, Err(Repeated { index: at, .. }) if at == index), "{refused:?}");
            forged += 1;
        }
        assert_eq!(forged, (1 << depth) - count, "every index beyond the last is a repetition");
    }
}

/// The real index whose hash a tree with its repetitions spelled out has at `index`, and the path from there.
fn repeated(block: &Block, index: u32, depth: usize) -> Option<(u32, Vec<[u8; 32]>)> {
    let mut leaves: Vec<_> = (0..).zip(block.txdata.iter().map(txid_bytes)).collect();
    // At each level an odd last node and all leaves below it are repeated.
    for level in 0..depth {
        let width = 1 << level;
        if (leaves.len() / width) % 2 == 1 && leaves.len() > width {
            leaves.extend_from_within(leaves.len() - width..);
        }
    }
    let mut level: Vec<[u8; 32]> = leaves.iter().map(|(_, hash)| *hash).collect();
    let (real, _) = *leaves.get(index as usize)?;
    let mut path = Vec::new();
    for height in 0..depth {
        path.push(level[index as usize >> height ^ 1]);
        level = level.chunks(2).map(|pair| sha256d::Hash::hash(&pair.concat()).to_byte_array()).collect();
    }
    Some((real, path))
}

#[test]
fn a_block_that_repeats_its_last_transactions_proves_each_of_them_once() {
    // CVE-2012-2459: the same root as the honest block, with transactions said to be there twice.
    for (count, repeated) in [(3, 1), (5, 1), (6, 2), (7, 1), (9, 1), (10, 2), (12, 4)] {
        let honest = block(count);
        let mut longer = honest.clone();
        longer.txdata.extend_from_slice(&honest.txdata[(count - repeated) as usize..]);
        assert_eq!(longer.compute_merkle_root(), honest.compute_merkle_root());
        for index in 0..count {
            assert_eq!(
                InclusionProof::from_block(&longer, index),
                InclusionProof::from_block(&honest, index)
            );
        }
        for index in count..count + repeated {
            let refused = InclusionProof::from_block(&longer, index);
            assert!(matches!(refused, Err(Repeated { index: at, .. }) if at == index), "{refused:?}");
        }
    }
}

/// A transaction of 64 bytes that are two hashes, the left of them `left`.
fn two_hashes_as_transaction(left: &Transaction) -> Transaction {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&txid_bytes(left));
    bytes[46] = 1; // outputs
    bytes[55] = 4; // bytes of the only output's script
    deserialize(&bytes).unwrap()
}

/// A transaction whose id can be the left half of a 64-byte one: at its place stands the number of inputs, one.
fn left_half() -> Transaction {
    (1_000..).map(transaction).find(|tx| txid_bytes(tx)[4] == 1).unwrap()
}

#[test]
fn a_transaction_hung_below_a_64_byte_one_is_refused() {
    let never_mined = without_witness(&left_half());
    let carrier = two_hashes_as_transaction(&never_mined);
    assert_eq!((carrier.input.len(), carrier.base_size()), (1, 64));
    let block = block_of(vec![coinbase(), carrier.clone()]);
    let right: [u8; 32] = serialize(&carrier)[32..].try_into().unwrap();
    let coinbase = without_witness(&coinbase());
    let mut forged = InclusionProof {
        block_hash: block.block_hash(),
        index: 2,
        path: vec![right, txid_bytes(&coinbase)],
        coinbase_path: vec![txid_bytes(&carrier)],
        transaction: never_mined,
        coinbase,
    };
    assert_eq!(
        naive_root(&forged.transaction, 2, &forged.path),
        block.header.merkle_root,
        "a path does lead there"
    );
    assert_eq!(forged.check(&block.header), Err(differ(2, 1)));
    for hash in [[0; 32], right, txid_bytes(&carrier), txid_bytes(&forged.coinbase)] {
        for place in 0..2 {
            forged.coinbase_path = vec![txid_bytes(&carrier)];
            forged.coinbase_path.insert(place, hash);
            assert_eq!(forged.check(&block.header), Err(WrongRoot(Leaf::Coinbase)));
        }
    }
    assert_eq!(
        InclusionProof::from_block(&block, 1),
        Err(SizeOfTwoHashes),
        "nor is the carrier itself proven"
    );
}

#[test]
fn two_hashes_passed_off_as_a_transaction_are_refused() {
    // Two neighbours whose ids, written one after the other, happen to read as a transaction.
    let left = left_half();
    let right = transaction(RIGHT_HALF);
    let bytes = [txid_bytes(&left), txid_bytes(&right)].concat();
    let read: Transaction = deserialize(&bytes).unwrap();
    let block = block_of(vec![coinbase(), transaction(1), left, right]);
    let real = InclusionProof::from_block(&block, 2).unwrap();
    let mut forged = InclusionProof { transaction: read, index: 1, path: real.path[1..].to_vec(), ..real };
    assert_eq!(
        naive_root(&forged.transaction, 1, &forged.path),
        block.header.merkle_root,
        "a path does lead there"
    );
    assert_eq!(forged.check(&block.header), Err(SizeOfTwoHashes));
    // Were it of another size, its depth would give it away, and no coinbase can be proven at the same one.
    forged.transaction.output[0].script_pubkey = ScriptBuf::new();
    assert_eq!(forged.check(&block.header), Err(differ(1, 2)));
    forged.coinbase_path.remove(0);
    assert_eq!(forged.check(&block.header), Err(WrongRoot(Leaf::Coinbase)));
}

/// Found by trying numbers from zero on: its id can be the right half of a 64-byte transaction.
const RIGHT_HALF: u32 = 8_914_655;

#[test]
fn a_coinbase_of_64_bytes_hinders_no_proof() {
    let mut small = coinbase();
    small.output[0].script_pubkey = ScriptBuf::new();
    assert_eq!(small.base_size(), 64);
    let block = block_of(vec![small, transaction(1), transaction(2)]);
    assert!(InclusionProof::from_block(&block, 2).is_ok());
    assert_eq!(InclusionProof::from_block(&block, 0), Err(SizeOfTwoHashes));
}

#[test]
fn a_coinbase_is_the_first_transaction_and_the_first_is_one() {
    let without = block_of(vec![transaction(1), transaction(2)]);
    assert_eq!(InclusionProof::from_block(&without, 1), Err(CoinbaseOutOfPlace(0)));
    let mut another = coinbase();
    another.lock_time = absolute::LockTime::from_consensus(7);
    let twice = block_of(vec![coinbase(), another]);
    assert_eq!(InclusionProof::from_block(&twice, 1), Err(CoinbaseOutOfPlace(1)));
}
