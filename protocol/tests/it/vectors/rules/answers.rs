//! Answers of committee members.

use super::super::stakes::sample;
use super::super::{message, pair, zero};
use super::signed;
use palisade_protocol::adaptor;
use palisade_protocol::context::Purpose;
use palisade_protocol::covenant::{
    BadAnswer, CovenantAnswer, MAX_REASON, Refusal, StakeSignatures, Verdict, refusal_message,
};
use palisade_protocol::message::Message;
use palisade_protocol::registration::Judged;
use palisade_protocol::stake::{Slashable, StakeId};

fn stake() -> (StakeId, Judged) {
    let (_, registration, judged) = sample();
    (StakeId(Message::Stake(Box::new(registration)).id()), judged)
}

/// Somebody's signatures on the sample's stake, changed.
fn answer(signer: &str, change: impl FnOnce(&mut StakeSignatures)) -> CovenantAnswer {
    let (stake, Judged { contract, sighashes }) = stake();
    let member = pair(signer);
    let adaptors = |sighash| {
        let keys = contract.keys.providers().iter();
        keys.map(|key| adaptor::sign(&member, &key.point(), sighash, &[0; 32])).collect()
    };
    let mut signatures = StakeSignatures {
        unbonding: signed(signer, &sighashes.unbonding),
        slashing: adaptors(&sighashes.slashing),
        unbonding_slashing: adaptors(&sighashes.unbonding_slashing),
    };
    change(&mut signatures);
    CovenantAnswer { stake, member: member.public().into(), verdict: Verdict::Signed(Box::new(signatures)) }
}

fn refusal(signer: &str, reason: &str) -> CovenantAnswer {
    let stake = stake().0;
    let signature = signed(signer, &refusal_message(&zero(Purpose::Covenant), &stake, reason));
    let verdict = Verdict::Refused(Refusal { reason: reason.to_owned(), signature });
    CovenantAnswer { stake, member: pair(signer).public().into(), verdict }
}

/// Whoever answers judges its own answer by its own key, and as strictly as others.
fn judged(answer: &CovenantAnswer) -> Result<(), BadAnswer> {
    let (_, Judged { contract, sighashes }) = stake();
    let context = zero(Purpose::Covenant);
    let own = [MEMBER, STRANGER].map(|name| answer.verify_own(&pair(name), &contract, &sighashes, &context));
    let not_own = Err(BadAnswer::NotMember(answer.member));
    let found = answer.verify(&contract, &sighashes, &context);
    let by_member = answer.member.point() == pair(MEMBER).public();
    assert_eq!(own, if by_member { [found.clone(), not_own] } else { [not_own, found.clone()] });
    found
}

const MEMBER: &str = "covenant 1";
const STRANGER: &str = "stranger";

#[test]
fn a_members_signatures_break_each_rule_alone() {
    let after = |change: fn(&mut StakeSignatures)| judged(&answer(MEMBER, change));
    assert_eq!(after(|_| ()), Ok(()));
    let stranger = answer(STRANGER, |_| ());
    assert_eq!(judged(&stranger), Err(BadAnswer::NotMember(stranger.member)));
    for (output, list) in [
        (Slashable::Staking, (|made| &mut made.slashing) as fn(&mut StakeSignatures) -> &mut Vec<_>),
        (Slashable::Unbonding, |made| &mut made.unbonding_slashing),
    ] {
        let after = |change: fn(&mut Vec<_>)| judged(&answer(MEMBER, |made| change(list(made))));
        let count = |found| Err(BadAnswer::Count { output, found, wanted: 2 });
        assert_eq!(after(|list| list.truncate(1)), count(1));
        assert_eq!(after(|list| list.push(list[0])), count(3));
        // Encrypted to the wrong key, or by another provider's place.
        assert_eq!(after(|list| list[1] = list[0]), Err(BadAnswer::Adaptor { output, index: 1 }));
        assert_eq!(after(|list| list[0] = list[1]), Err(BadAnswer::Adaptor { output, index: 0 }));
    }
    // The signatures for one output do not do for the other.
    let crossed = after(|made| made.slashing.clone_from(&made.unbonding_slashing));
    assert_eq!(crossed, Err(BadAnswer::Adaptor { output: Slashable::Staking, index: 0 }));
    let other = signed("covenant 0", &stake().1.sighashes.unbonding);
    assert_eq!(judged(&answer(MEMBER, |made| made.unbonding = other)), Err(BadAnswer::Unbonding));
}

#[test]
fn a_refusal_breaks_each_rule_alone() {
    let reason = "r".repeat(MAX_REASON + 1);
    assert_eq!(judged(&refusal(MEMBER, &reason[1..])), Ok(()));
    assert_eq!(judged(&refusal(MEMBER, &reason)), Err(BadAnswer::ReasonTooLong(MAX_REASON + 1)));
    let stranger = refusal(STRANGER, "no");
    assert_eq!(judged(&stranger), Err(BadAnswer::NotMember(stranger.member)));
    let mut altered = refusal(MEMBER, "no");
    if let Verdict::Refused(refusal) = &mut altered.verdict {
        refusal.reason = "not".to_owned();
    }
    assert_eq!(judged(&altered), Err(BadAnswer::Refusal));
    let (_, Judged { contract, sighashes }) = stake();
    let elsewhere = refusal(MEMBER, "no").verify(&contract, &sighashes, &zero(Purpose::Hub));
    assert_eq!(elsewhere, Err(BadAnswer::Refusal));
}

#[test]
fn an_answer_of_the_vectors_is_one_that_we_make() {
    let Message::Answer(refused) = message(&super::super::vectors("stake")["refusal"]) else {
        panic!("another message")
    };
    let Verdict::Refused(Refusal { reason, .. }) = &refused.verdict else { panic!("a refusal") };
    let members = ["covenant 0", "covenant 1", "covenant 2"];
    assert!(members.iter().any(|member| refusal(member, reason) == refused));
}
