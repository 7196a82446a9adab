use super::*;
use crate::bls::BlsSecretKey;
use crate::curve::KeyPair;
use bitcoin::transaction::Version;
use bitcoin::{TxOut, absolute::LockTime};

const CONTEXT: Context = Hash32([7; 32]);
const HEADER: Hash32 = Hash32([9; 32]);

/// A set of nine with its keys for checkpoints, in the set's order; member i has power i + 1, together 45.
struct Nine {
    set: Set,
    keys: Vec<BlsSecretKey>,
    bls: Vec<BlsPublicKey>,
}

fn nine() -> Nine {
    let mut members: Vec<(Member, BlsSecretKey)> = (1..10u8)
        .map(|n| {
            let bls = BlsSecretKey::from_key_material(&[n; 32]).unwrap();
            let key = KeyPair::from_secret_bytes(&[n; 32]).unwrap().public().into();
            let bls_hash = bls.public_key().hash();
            (Member { key, power: Amount::ZERO, bls_hash, nonce_root: Hash32::ZERO }, bls)
        })
        .collect();
    members.sort_by_key(|(member, _)| member.key);
    for (power, (member, _)) in (1..).zip(&mut members) {
        member.power = Amount::from_sat(power);
    }
    let (members, keys): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    let set = Set::new(Hash32([1; 32]), Epoch(4), crate::units::BtcHeight(100), members).unwrap();
    let bls = keys.iter().map(BlsSecretKey::public_key).collect();
    Nine { set, keys, bls }
}

impl Nine {
    fn share(&self, index: usize, header: Hash32) -> CheckpointShare {
        let epoch = Epoch(4);
        let signature = self.keys[index].sign(&checkpoint::message(&CONTEXT, epoch, &header));
        CheckpointShare { epoch, header, key: self.set.members()[index].key, signature }
    }

    fn anchor(&self, who: &[usize]) -> Anchor {
        let shares: Vec<_> = who.iter().map(|index| self.share(*index, HEADER)).collect();
        Anchor::assemble(&self.set, HEADER, &shares).unwrap()
    }

    fn judge(&self, anchor: &Anchor) -> Result<(), BadAnchor> {
        let members = self.set.members();
        let named = anchor.signers();
        let signers = named.iter().filter_map(|index| {
            let place = usize::from(*index);
            Some(Signer { index: *index, member: members.get(place)?, bls: &self.bls[place] })
        });
        anchor.verify(&CONTEXT, self.set.header(), &signers.collect::<Vec<_>>())
    }
}

fn carrying(scripts: impl IntoIterator<Item = ScriptBuf>) -> Transaction {
    let output = scripts.into_iter().map(|script_pubkey| TxOut { value: Amount::ZERO, script_pubkey });
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![], output: output.collect() }
}

#[test]
fn an_anchor_comes_back_from_the_transaction_that_carries_it() {
    let anchor = nine().anchor(&[0, 8]);
    assert_eq!(anchor.bitmap, [0x80, 0x80]);
    assert_eq!(anchor.signers(), [0, 8]);
    let bytes = anchor.to_bytes();
    assert_eq!(bytes.len(), FIXED + 2);
    assert_eq!(bytes[..5], *b"plsd\x01");
    let other = ScriptBuf::new_op_return(b"plsd");
    assert_eq!(Anchor::find(&carrying([other, anchor.script()])), Ok((1, anchor)));
}

#[test]
fn what_is_not_written_as_we_write_it_is_no_anchor() {
    let anchor = nine().anchor(&[0]);
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = anchor.script().into_bytes();
        change(&mut bytes);
        Anchor::find(&carrying([ScriptBuf::from_bytes(bytes)]))
    };
    assert!(with(|_| ()).is_ok());
    let spoilt: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[0] = 0x51,
        |bytes| bytes[3] ^= 1,
        |bytes| bytes[7] = 2,
        |bytes| bytes.push(0x51),
        |bytes| bytes.truncate(bytes.len() - 1),
    ];
    assert!(spoilt.into_iter().all(|change| with(change) == Err(BadAnchor::NoAnchor)));
}

#[test]
fn two_thirds_exactly_are_no_checkpoint_and_more_are() {
    let nine = nine();
    // Powers are 1 to 9, together 45: two thirds are 30.
    assert_eq!(nine.judge(&nine.anchor(&[5, 6, 7, 8, 0])), Ok(()));
    let (power, total) = (Amount::from_sat(30), Amount::from_sat(45));
    assert_eq!(nine.judge(&nine.anchor(&[5, 6, 7, 8])), Err(BadAnchor::NoQuorum { power, total }));
}

#[test]
fn shares_for_another_header_or_by_strangers_never_enter_the_sum() {
    let nine = nine();
    let mut shares: Vec<_> = (3..9).map(|index| nine.share(index, HEADER)).collect();
    shares.push(nine.share(0, Hash32([8; 32])));
    shares.push(CheckpointShare { epoch: Epoch(5), ..nine.share(1, HEADER) });
    let stranger = KeyPair::from_secret_bytes(&[99; 32]).unwrap().public().into();
    shares.push(CheckpointShare { key: stranger, ..nine.share(2, HEADER) });
    shares.push(shares[0].clone());
    let anchor = Anchor::assemble(&nine.set, HEADER, &shares).unwrap();
    assert_eq!(anchor.signers(), (3..9).collect::<Vec<_>>());
    assert_eq!(nine.judge(&anchor), Ok(()));
}

#[test]
fn every_altered_part_is_refused() {
    let nine = nine();
    let good = nine.anchor(&[3, 4, 5, 6, 7, 8]);
    let check = |change: fn(&mut Anchor), why: fn(&BadAnchor) -> bool| {
        let mut altered = good.clone();
        change(&mut altered);
        let refused = nine.judge(&altered).unwrap_err();
        assert!(why(&refused), "{refused}");
    };
    check(|anchor| anchor.epoch = Epoch(5), |why| matches!(why, BadAnchor::WrongSet { .. }));
    check(|anchor| anchor.header = Hash32([8; 32]), |why| matches!(why, BadAnchor::Signature(_)));
    check(|anchor| anchor.bitmap[0] |= 0x80, |why| matches!(why, BadAnchor::Signature(_)));
    check(|anchor| anchor.bitmap[1] |= 0x40, |why| matches!(why, BadAnchor::Bitmap));
    check(|anchor| anchor.bitmap.push(0), |why| matches!(why, BadAnchor::Bitmap));
    check(|anchor| anchor.bitmap = vec![0, 0], |why| matches!(why, BadAnchor::Bitmap));
}

#[test]
fn a_key_that_the_set_does_not_name_signs_nothing() {
    let nine = nine();
    let anchor = nine.anchor(&[3, 4, 5, 6, 7, 8]);
    let members = nine.set.members();
    let signer =
        |index: u16, bls: usize| Signer { index, member: &members[usize::from(index)], bls: &nine.bls[bls] };
    let mut signers: Vec<_> = (3..9).map(|index| signer(index, usize::from(index))).collect();
    assert_eq!(anchor.verify(&CONTEXT, nine.set.header(), &signers), Ok(()));
    signers[0] = signer(3, 0);
    assert_eq!(anchor.verify(&CONTEXT, nine.set.header(), &signers), Err(BadAnchor::Key(3)));
    assert_eq!(anchor.verify(&CONTEXT, nine.set.header(), &signers[1..]), Err(BadAnchor::Signers));
}

#[test]
fn a_transaction_that_fits_no_timestamp_file_carries_no_anchor() {
    let anchor = nine().anchor(&[0]);
    let of_size = |size: usize| {
        let short = carrying([anchor.script(), ScriptBuf::new()]).base_size();
        // The length of a script of some hundred bytes takes two bytes more than that of an empty one.
        let transaction = carrying([anchor.script(), vec![0x6a; size - short - 2].into()]);
        assert_eq!(transaction.base_size(), size);
        Anchor::find(&transaction)
    };
    assert_eq!(of_size(MAX_ANCHOR_TRANSACTION), Ok((0, anchor.clone())));
    let longer = MAX_ANCHOR_TRANSACTION + 1;
    assert_eq!(of_size(longer), Err(BadAnchor::TooLong(longer)));
}
