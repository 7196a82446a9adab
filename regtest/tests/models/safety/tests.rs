use super::super::{breaks, holds, more};
use super::logs::Difference;
use super::*;

const DIFFERENCES: [Difference; 5] =
    [Difference::Digest, Difference::Roots, Difference::Exit, Difference::Breaker, Difference::BreakerOrExit];
const EQUAL: &[u64] = &[1, 1, 1, 1];
const UNEQUAL: &[u64] = &[3, 2, 2, 1];

fn safety(powers: &[u64], parting: u64, difference: Difference, without: Option<Check>) -> Safety {
    let branches = Arc::new(Branches::new(powers, parting, difference, without));
    Safety { branches, faulty: Faulty::TwoThirds, without, last: parting + 1 }
}

#[test]
fn while_no_set_is_more_than_two_thirds_faulty_conflicts_at_any_heights_expose_more_than_a_third() {
    for powers in [EQUAL, UNEQUAL] {
        for difference in DIFFERENCES {
            for parting in [2, 3] {
                let model = safety(powers, parting, difference, None);
                // Up to the first height whose set differs, where logs that part at an epoch's first block have other sets.
                let deeper = parting == 2 && difference != Difference::Digest;
                let model = Safety { last: parting + 1 + u64::from(deeper) + u64::from(more()), ..model };
                let name = format!("safety, {powers:?}, {difference:?} at {parting}");
                holds(&name, model, &[ONE_HEIGHT, ANY_HEIGHTS, HONEST, ONE_BRANCH], &[CONFLICT, FINAL]);
            }
        }
    }
}

#[test]
fn whoever_is_faulty_two_certificates_at_one_height_expose_more_than_a_third() {
    for powers in [EQUAL, UNEQUAL] {
        for difference in DIFFERENCES {
            // Up to a height at which one of two sets that agree is carried over.
            let parting = if difference == Difference::Breaker { 2 } else { 3 };
            let model = safety(powers, parting, difference, None);
            let model = Safety { faulty: Faulty::All, last: 4, ..model };
            let name = format!("one height, {powers:?}, {difference:?}");
            holds(&name, model, &[ONE_HEIGHT, HONEST, ONE_BRANCH], &[CONFLICT, FINAL]);
        }
    }
}

/// The bound of invariant 3 is needed: a set that is all faulty makes both branches final at different heights.
#[test]
fn a_set_more_than_two_thirds_faulty_can_conflict_at_different_heights_and_no_key_comes_out() {
    let model = Safety { faulty: Faulty::All, ..safety(EQUAL, 2, Difference::Digest, None) };
    breaks("all faulty", model, ANY_HEIGHTS);
}

/// That the honest vote for descendants of their own last vote only is a duty by itself: invariant 3 follows from the certificates
/// that they hold, one message a height and the nonces.
#[test]
fn honest_members_that_leave_their_own_branch_do_not_make_conflicts_cheaper() {
    let model = safety(EQUAL, 2, Difference::Exit, Some(Check::OwnBranch));
    holds("safety without OwnBranch", model, &[ONE_HEIGHT, ANY_HEIGHTS, HONEST], &[CONFLICT]);
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    let all = Faulty::All;
    for (without, powers, faulty, property) in [
        (Check::MoreThanTwoThirds, &[1, 1, 1][..], all, ONE_HEIGHT),
        (Check::NonceOfHeight, EQUAL, Faulty::TwoThirds, ANY_HEIGHTS),
        (Check::RootsOfSet, EQUAL, Faulty::TwoThirds, ANY_HEIGHTS),
        (Check::FixedSet, EQUAL, Faulty::TwoThirds, ANY_HEIGHTS),
        (Check::OneContext, EQUAL, all, ONE_HEIGHT),
        (Check::CertificateBefore, EQUAL, Faulty::TwoThirds, ANY_HEIGHTS),
        (Check::OneMessage, EQUAL, Faulty::TwoThirds, HONEST),
        (Check::OwnBranch, EQUAL, Faulty::TwoThirds, ONE_BRANCH),
    ] {
        let model = Safety { faulty, ..safety(powers, 2, Difference::Digest, Some(without)) };
        breaks(&format!("safety without {without:?}"), model, property);
    }
}
