//! Blocks of our own, built outside the node: coinbase, witness commitment, header, proof of work.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    transaction,
};

/// Blocks between two halvings of the subsidy on regtest.
const HALVING_INTERVAL: u32 = 150;
/// Where a block keeps the hash of its witnesses (BIP 141): OP_RETURN, a push of 36 bytes, and this tag.
const COMMITMENT_HEADER: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// A valid regtest block at `height` on top of `previous`, at `time`, that pays to `payout` and holds
/// `transactions`. It claims no fees. `salt` makes it differ from every other block of the same content.
pub fn build(
    previous: &Header,
    height: u32,
    time: u32,
    payout: &ScriptBuf,
    salt: [u8; 8],
    transactions: &[Transaction],
) -> Block {
    let mut txdata = vec![coinbase(height, payout, salt)];
    txdata.extend_from_slice(transactions);
    let header = Header {
        version: Version::NO_SOFT_FORK_SIGNALLING,
        prev_blockhash: previous.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time,
        bits: previous.bits, // as on regtest, and within a period elsewhere
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    commit_to_witnesses(&mut block);
    if let Some(root) = block.compute_merkle_root() {
        block.header.merkle_root = root;
    }
    work(&mut block.header);
    block
}

/// Finds the nonce for a header's target.
pub fn work(header: &mut Header) {
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce = header.nonce.wrapping_add(1);
    }
}

/// The earliest time that a block may carry on top of these headers, the last of which is its parent: one second
/// more than the median of the last eleven.
pub fn earliest_time(ancestors: &[Header]) -> u32 {
    let mut times: Vec<u32> = ancestors.iter().rev().take(11).map(|header| header.time).collect();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, |median| median + 1)
}

fn coinbase(height: u32, payout: &ScriptBuf, salt: [u8; 8]) -> Transaction {
    let subsidy = Amount::from_int_btc(50).to_sat().checked_shr(height / HALVING_INTERVAL).unwrap_or(0);
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            // BIP 34: the height first.
            script_sig: Builder::new().push_int(i64::from(height)).push_slice(salt).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0u8; 32]]), // BIP 141: the reserved value
        }],
        output: vec![TxOut { value: Amount::from_sat(subsidy), script_pubkey: payout.clone() }],
    }
}

fn commit_to_witnesses(block: &mut Block) {
    let Some(root) = block.witness_root() else { return };
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = [&COMMITMENT_HEADER[..], commitment.as_ref()].concat();
    if let Some(coinbase) = block.txdata.first_mut() {
        coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) });
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::Params;

    use super::*;

    fn genesis() -> Header {
        bitcoin::constants::genesis_block(Params::REGTEST).header
    }

    #[test]
    fn a_block_has_its_proof_of_work_its_height_and_its_commitments() {
        // The library does not read heights below 17, which have opcodes of their own; the node judges those.
        for height in [17, 128, 150, 70_000] {
            let block = build(&genesis(), height, 1_700_000_000, &ScriptBuf::new(), [7; 8], &[]);
            assert!(block.header.validate_pow(block.header.target()).is_ok());
            assert!(block.check_merkle_root() && block.check_witness_commitment());
            assert_eq!(block.bip34_block_height(), Ok(u64::from(height)));
        }
    }

    #[test]
    fn blocks_that_differ_in_salt_only_are_different_blocks() {
        let block =
            |salt| build(&genesis(), 1, 1_700_000_000, &ScriptBuf::new(), [salt; 8], &[]).block_hash();
        assert_ne!(block(1), block(2));
    }

    #[test]
    fn the_subsidy_halves_every_150_blocks() {
        let subsidy = |height| coinbase(height, &ScriptBuf::new(), [0; 8]).output[0].value.to_sat();
        assert_eq!(subsidy(149), 5_000_000_000);
        assert_eq!(subsidy(150), 2_500_000_000);
        assert_eq!(subsidy(150 * 64), 0);
    }

    #[test]
    fn the_earliest_time_follows_the_median_of_eleven() {
        let at = |time| Header { time, ..genesis() };
        let times = |times: &[u32]| times.iter().copied().map(at).collect::<Vec<_>>();
        assert_eq!(earliest_time(&times(&[5])), 6);
        assert_eq!(earliest_time(&times(&[9, 5])), 10);
        assert_eq!(earliest_time(&times(&[1000, 1, 11, 2, 10, 3, 9, 4, 8, 5, 7, 6])), 7);
    }
}
