//! Votes, looked through for two that share a nonce: the watcher does not leave that to the hub. Pure.

use palisade_protocol::eots::{self, PublicNonce};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Height;
use std::collections::BTreeMap;

/// Votes that are remembered of a chain.
const MAX_VOTES: usize = 50_000;

/// One vote for each nonce that was used, of the newest heights.
#[derive(Debug, Default)]
pub struct Votes(BTreeMap<(Height, ProviderKey, PublicNonce), Vote>);

impl Votes {
    /// Height of the newest vote that was seen. A vote that does not verify is none.
    pub fn newest(&self) -> Height {
        self.0.last_key_value().map_or(Height(0), |((height, ..), _)| *height)
    }

    /// Looks at a vote. Gives evidence if it and one seen before give the voter's key away.
    pub fn look_at(&mut self, mut vote: Vote) -> Option<Evidence> {
        // Anybody can send bytes that look like a vote; one that is none must not take the place of one.
        let Vote { ballot, key, nonce, signature, .. } = &vote;
        eots::verify(&key.point(), nonce, &ballot.message(), signature).ok()?;
        // Whether the nonce was committed to plays no part in what two signatures give away.
        vote.path.clear();
        let place = (vote.ballot.height, vote.key, vote.nonce);
        if let Some(seen) = self.0.get(&place) {
            return Evidence::from_votes(seen, &vote);
        }
        self.0.insert(place, vote);
        if self.0.len() > MAX_VOTES {
            self.0.pop_first();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_protocol::context::ChainId;
    use palisade_protocol::eots::EotsSignature;
    use palisade_protocol::hash::Hash32;
    use palisade_world::{World, provider_key};

    #[test]
    fn two_votes_at_one_height_give_the_key_and_nothing_else_does() {
        let world = World::new(1_000_000);
        let vote =
            |name, height, block| world.vote(&ChainId::zero(), name, Height(height), Hash32([block; 32]));
        let mut votes = Votes::default();
        let mut forged = vote("anna", 5, 2);
        forged.signature = EotsSignature::from_bytes([7; 32]).unwrap();
        for (what, next) in [
            ("forged", forged),
            ("first", vote("anna", 5, 1)),
            ("again", vote("anna", 5, 1)),
            ("next height", vote("anna", 10, 2)),
            ("somebody else", vote("otto", 5, 2)),
        ] {
            assert_eq!(votes.look_at(next), None, "{what}");
        }
        let evidence = votes.look_at(vote("anna", 5, 2)).unwrap();
        assert_eq!(evidence.key(), provider_key("anna"));
        assert!(evidence.secret().is_ok());
    }
}
