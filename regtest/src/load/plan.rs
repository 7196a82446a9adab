//! What a flood sends: messages in which everything is right but one signature. Those that are dear to judge are in [`dear`].

pub mod dear;

use super::scene::{self, HOLDER, VOTERS};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::units::Epoch;
use palisade_world::{Wish, World};
use serde::{Deserialize, Serialize};

/// Providers that nobody has registered, each with a coin behind it.
const PROVIDERS: usize = 40;
/// Stakes that nobody has registered, each with a coin behind it.
const STAKES: usize = 40;
/// Bytes that are altered.
pub const ALTERED: usize = 8;

/// A good message, and where a signature's last bytes stand in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    /// The door it is sent to.
    pub door: String,
    /// The epoch that it is for, where that matters: it is sent while that is the newest with votes.
    pub epoch: Option<u64>,
    /// Where to alter [`ALTERED`] bytes; nowhere if it is bad as it is.
    pub at: Option<usize>,
    /// The message.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl Template {
    /// A template of a message that holds a signature, whose last bytes are to be altered.
    pub fn new(door: &str, bytes: Vec<u8>, signature: &[u8]) -> Self {
        let found = bytes.windows(signature.len()).rposition(|part| part == signature);
        let at = found.expect("the message holds its signature") + signature.len() - ALTERED;
        Self { door: door.to_owned(), epoch: None, at: Some(at), bytes }
    }

    /// The message with a signature that no other number gives, and that is never the right one.
    pub fn altered(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let Some(at) = self.at else { return };
        let from = out.len() - self.bytes.len() + at;
        let alter = (number + 1).to_be_bytes();
        out[from..from + ALTERED].iter_mut().zip(alter).for_each(|(byte, alter)| *byte ^= alter);
    }
}

/// What is sent in turns.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Kinds of messages, which take turns.
    pub kinds: Vec<Vec<Template>>,
}

impl Plan {
    /// Half votes of registered keys, half registrations: of these again half of providers and half of stakes.
    pub fn signatures(world: &mut World) -> Self {
        let (providers, stakes, votes) = (providers(world), stakes(world), votes(world));
        Self { kinds: vec![votes.clone(), providers, votes, stakes] }
    }
}

/// Registrations that are good but for the provider's signature, which is checked after the backing's.
fn providers(world: &mut World) -> Vec<Template> {
    let mut made = Vec::new();
    for index in 0..PROVIDERS {
        let message = world.provider_registration(&ChainId::zero(), &format!("mallory {index}"));
        let Message::Provider(own) = &message else { unreachable!("a registration") };
        made.push(Template::new("messages", message.to_bytes(), &own.signature.serialize()));
    }
    made
}

/// Registrations that are good but for a signature: of the slashing, or of the coin behind them, which is checked last.
fn stakes(world: &mut World) -> Vec<Template> {
    let wish = Wish { holder: HOLDER, sat: scene::STAKE_SAT, providers: &VOTERS[..1], lock: scene::LOCK };
    let made = (0..STAKES).map(|index| {
        let registration = world.registration(&wish);
        let signature = if index % 2 == 0 {
            registration.slashing_signature.serialize().to_vec()
        } else {
            backing_signature(&registration)
        };
        Template::new("messages", Message::Stake(Box::new(registration)).to_bytes(), &signature)
    });
    made.collect()
}

fn backing_signature(registration: &StakeRegistration) -> Vec<u8> {
    let RegistrationProof::Funding(backing) = &registration.proof else { unreachable!("not on Bitcoin") };
    backing.witness.nth(0).expect("a signature").to_vec()
}

/// Votes of registered keys for the hub's own blocks, as far as those are known: only the signature is wrong.
fn votes(world: &World) -> Vec<Template> {
    let zero = &world.ledger.chains()[0];
    let mut made = Vec::new();
    for epoch in 1..scene::EPOCHS {
        let height = zero.terms.first_height(Epoch(epoch)).plus(scene::VOTED_EVERY);
        for name in VOTERS {
            let vote = world.vote(zero.id(), name, height, Hash32([7; 32]));
            let template = Template::new("votes", vote.to_bytes(), &vote.signature.to_bytes());
            made.push(Template { epoch: Some(epoch), ..template });
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_altered_is_never_the_right_signature_and_never_the_same_twice() {
        let template = Template::new("votes", (0..40).collect(), &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        let altered = |number| {
            let mut out = vec![9];
            template.altered(number, &mut out);
            out.split_off(1)
        };
        assert_eq!(template.at, Some(12));
        for number in [0, 1, 255, 256, u64::MAX - 1] {
            assert!(altered(number) != template.bytes && altered(number) != altered(number ^ 2));
            assert_eq!(
                (&altered(number)[..12], &altered(number)[20..]),
                (&template.bytes[..12], &template.bytes[20..])
            );
        }
    }
}
