//! The names of forms.

use super::Form;
use palisade_checkpointer::watch::job::Outcome;
use palisade_covenant::audit::Act;
use palisade_finality_provider::signer::request::{Answer, LastVote, Request};
use palisade_protocol::covenant::Verdict;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::governance::{Action, Recovery, Resume};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::params::Profile;
use palisade_protocol::proof::{LeafPath, Under};
use palisade_protocol::provider::BlsRegistration;
use palisade_protocol::registration::RegistrationProof;
use palisade_protocol::stake::{Presigned, StakeId};
use palisade_protocol::transactions::bump;

/// For each table a module: what is looked at in a value, and the name of each form that it can have.
macro_rules! tables {
    ($($name:ident($value:ident: $type:ty) => $look:expr, { $($pattern:pat => $form:literal),+ $(,)? })+) => {$(
        pub(super) mod $name {
            use super::*;

            pub(crate) const ALL: &[&str] = &[$($form),+];

            pub(crate) fn of($value: &$type) -> Form {
                match $look { $($pattern => $form),+ }.to_owned()
            }
        }
    )+};
}

tables! {
    message(it: Message) => it, {
        Message::Headers(_) => "headers",
        Message::Provider(_) => "a provider",
        Message::Stake(_) => "a stake",
        Message::Answer(_) => "an answer to a stake",
        Message::Consent(_) => "consent to an expansion",
        Message::Included(_) => "a stake on Bitcoin",
        Message::Spent(_) => "a spend",
        Message::Commitment(_) => "a commitment",
        Message::Certificate(_) => "a certificate",
        Message::Evidence(_) => "evidence",
        Message::Anchor(_) => "an anchor",
        Message::Batch(_) => "a batch of digests",
        Message::Governance(_) => "a decision",
    }
    checkpoints(it: Option<BlsRegistration>) => it, {
        Some(_) => "a provider that signs checkpoints",
        None => "a provider that signs none",
    }
    stake_proof(it: RegistrationProof) => it, {
        RegistrationProof::Funding(_) => "a stake that is to be sent",
        RegistrationProof::Confirmed(_) => "a stake that was sent",
    }
    expands(it: Option<StakeId>) => it, {
        Some(_) => "a stake that expands another",
        None => "a stake that expands none",
    }
    former(it: [ProviderKey]) => it.is_empty(), {
        false => "a stake with providers of the one before",
        true => "a stake without former providers",
    }
    presigned(it: Presigned) => bump::handle(&it.unbonding), {
        Some(_) => "a stake that can be bumped",
        None => "a stake that cannot be bumped",
    }
    verdict(it: Verdict) => it, {
        Verdict::Signed(_) => "a stake is signed for",
        Verdict::Refused(_) => "a stake is refused",
    }
    evidence(it: Evidence) => it, {
        Evidence::Equivocation(_) => "two votes",
        Evidence::Key(_) => "a key",
    }
    action(it: Action) => it, {
        Action::RegisterChain(_) => "a chain is registered",
        Action::SetParams(_) => "parameters are set",
        Action::Resume(_) => "the breaker is reset",
        Action::RotateKeys(_) => "others govern",
        Action::RecoveryRoot(_) => "chain zero begins anew",
    }
    resume(it: Resume) => it.accepted.is_empty(), {
        true => "no power is accepted",
        false => "some power is accepted",
    }
    recovery(it: Recovery) => it.last_final, {
        Some(_) => "it begins behind a final block",
        None => "it begins without a final block",
    }
    profile(it: Profile) => it, {
        Profile::Compatible => "parameters of the compatible profile",
        Profile::Bumpable => "parameters of the bumpable profile",
    }
    under(it: Option<Under>) => it, {
        Some(_) => "a step under a checkpoint",
        None => "a step of a set that lives",
    }
    among_headers(it: Option<LeafPath>) => it, {
        Some(_) => "a certificate in a block before the checkpoint's",
        None => "a certificate in the checkpoint's own block",
    }
    request(it: Request) => it, {
        Request::Identity(_) => "who are you",
        Request::Register(_) => "register",
        Request::Commit(_) => "commit",
        Request::Vote(_) => "vote",
        Request::Checkpoint(_) => "sign a checkpoint",
    }
    answer(it: Answer) => it, {
        Answer::Identity(_) => "who I am",
        Answer::Registered(_) => "a registration",
        Answer::Commitment(_) => "a commitment",
        Answer::Vote(_) => "a vote",
        Answer::Checkpoint(_) => "a share",
        Answer::Refused(_) => "no",
    }
    last_vote(it: Option<LastVote>) => it, {
        Some(_) => "a key that has voted",
        None => "a key that never voted",
    }
    act(it: Act) => it, {
        Act::Signed => "a stake that was signed for",
        Act::Refused => "a stake that was refused",
        Act::Consented => "an expansion that was consented to",
    }
    end(it: Option<Outcome>) => it, {
        None => "a slashing that is due",
        Some(Outcome::Slashed) => "a stake that was slashed",
        Some(Outcome::Elsewhere) => "a stake whose coins went elsewhere",
    }
    registered(it: Option<BlsRegistration>) => it, {
        Some(_) => "a registration for chain zero",
        None => "a registration for another chain",
    }
}
