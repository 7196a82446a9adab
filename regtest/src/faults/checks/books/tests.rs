use super::*;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, ScriptBuf, TxOut};
use palisade_world::transaction;

/// A transaction with two outputs, which are of its own by the amount.
fn spends(outputs: &[OutPoint], sat: u64) -> Transaction {
    let output = TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::new() };
    transaction(outputs.to_vec(), vec![output.clone(), output])
}

fn output(tx: &Transaction, vout: u32) -> OutPoint {
    OutPoint { txid: tx.compute_txid(), vout }
}

fn coin(byte: u8) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([byte; 32]), vout: 0 }
}

/// One stake that was left and withdrawn, and one that was slashed; somebody paid for the exit and for the slashing.
struct Told {
    agreed: Vec<Agreed>,
    transactions: BTreeMap<Txid, Transaction>,
    heights: BTreeMap<Txid, u32>,
    books: Books,
}

fn agreed(byte: u8, staking: &Transaction, unbonding: &Transaction, slashing: &Transaction) -> Agreed {
    let slashed = spends(&[output(unbonding, 0)], 5).compute_txid();
    Agreed {
        id: StakeId(Hash32([byte; 32])),
        place: output(staking, 0),
        unbonding: unbonding.compute_txid(),
        slashings: [slashing.compute_txid(), slashed],
    }
}

fn told() -> Told {
    let stakings = [1, 2].map(|byte| spends(&[coin(byte)], 100));
    let exits = stakings.clone().map(|tx| spends(&[output(&tx, 0)], 90));
    let slashings = stakings.clone().map(|tx| spends(&[output(&tx, 0)], 80));
    let withdrawal = spends(&[output(&exits[0], 0)], 70);
    let children =
        [(&exits[0], 3), (&slashings[1], 4)].map(|(tx, byte)| spends(&[output(tx, 1), coin(byte)], 60));
    let stakes = [0, 1].map(|i| agreed(i as u8, &stakings[i], &exits[i], &slashings[i]));
    let sent =
        [&stakings[0], &stakings[1], &exits[0], &withdrawal, &children[0], &slashings[1], &children[1]];
    let heights: BTreeMap<Txid, u32> = sent.iter().map(|tx| tx.compute_txid()).zip(1..).collect();
    let name = |txs: &[&Transaction]| txs.iter().map(|tx| tx.compute_txid()).collect::<BTreeSet<_>>();
    let books = Books {
        stakings: name(&[&stakings[0], &stakings[1]]),
        exits: name(&[&exits[0], &exits[1]]),
        spends: name(&[&withdrawal]),
        holders: name(&[&stakings[0], &withdrawal, &children[0]]),
        watcher: name(&[&children[1]]),
        jobs: [(stakes[1].id, heights.get(&slashings[1].compute_txid()).copied())].into(),
    };
    let transactions = sent.map(|tx| (tx.compute_txid(), tx.clone())).into();
    Told { agreed: stakes.into(), transactions, heights, books }
}

impl Told {
    fn check(&self, books: &Books) -> Result<(), String> {
        let seen = &self.transactions;
        books.check(&self.agreed, seen, seen, &self.heights).map_err(|why| why.to_string())
    }
}

#[test]
fn a_book_that_forgot_what_its_owner_sent_is_noticed_whichever_it_is() {
    let told = told();
    assert_eq!(told.check(&told.books), Ok(()));
    type Forget = fn(&mut Books);
    let forget: [(Forget, &str); 8] = [
        (|books| books.stakings.clear(), "Staking"),
        (|books| books.exits.clear(), "Unbonding"),
        (|books| books.spends.clear(), "Withdrawal"),
        (|books| books.holders = &books.holders - &books.spends, "Withdrawal"),
        (|books| books.holders = &books.holders & &books.spends, "HoldersChild"),
        (|books| books.watcher.clear(), "WatchersChild"),
        (|books| books.jobs.clear(), "Slashing"),
        (|books| books.jobs.values_mut().for_each(|ended| *ended = None), "Slashing"),
    ];
    for (forget, kind) in forget {
        let mut books = told.books.clone();
        forget(&mut books);
        let why = told.check(&books).unwrap_err();
        assert!(why.contains("does not stand with whoever sent it") && why.contains(kind), "{kind}: {why}");
    }
}

#[test]
fn what_a_book_holds_for_sent_and_no_block_has_is_noticed() {
    let told = told();
    let other = coin(9).txid;
    let more: [fn(&mut Books, Txid); 4] = [
        |books, other| books.stakings.extend([other]),
        |books, other| books.spends.extend([other]),
        |books, other| books.holders.extend([other]),
        |books, other| books.watcher.extend([other]),
    ];
    for add in more {
        let mut books = told.books.clone();
        add(&mut books, other);
        let why = told.check(&books).unwrap_err();
        assert_eq!(why, format!("{other} stands in a book or a wallet, and in no block"));
    }
    let mut books = told.books.clone();
    books.jobs.insert(told.agreed[0].id, None);
    assert!(told.check(&books).unwrap_err().ends_with("is to be slashed, and is not"));
}

#[test]
fn a_transaction_that_is_nobodys_and_a_story_without_one_kind_are_noticed() {
    let mut told = told();
    let foreign = spends(&[coin(7)], 50);
    told.transactions.insert(foreign.compute_txid(), foreign.clone());
    assert_eq!(told.check(&told.books), Err(format!("{} is nobody's", foreign.compute_txid())));
    let nothing = Told { transactions: BTreeMap::new(), ..told };
    assert!(nothing.check(&nothing.books).is_err());
}
