//! Two logs of one hub: their ledgers after each certificate, everybody's votes on both, and what the production code says of
//! them, each asked once.

use super::Check;
use super::logs::{Difference, END, FIRST, NAMES, TERMS, ledgers, logs, nonces};
use palisade_finality_provider::signer::request::LastVote;
use palisade_finality_provider::voter::ballots::{self, Due, Held, Voting};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::Chain;
use palisade_protocol::context::{ChainIdentity, Context, Purpose};
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::certificate::{BadCertificate, Certificate};
use palisade_protocol::finality::commitment::nonce_tree;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::set::{Member, Set};
use palisade_protocol::finality::vote::{BadVote, Ballot, Vote};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{BtcHeight, Height};
use palisade_world::{World, pair, provider_key};
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

pub(super) const BRANCHES: usize = 2;
/// A set of members: bit i is member i.
pub(super) type Members = u8;

/// A block: a height on a branch. Below the parting both branches have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) height: u64,
    pub(super) branch: usize,
}

/// A set's powers, by member.
pub(super) struct Powers(Vec<u64>);

impl Powers {
    /// Whether these hold more than so many thirds.
    pub(super) fn exceeds(&self, members: Members, thirds: u64) -> bool {
        let held = self.0.iter().enumerate().filter(|(member, _)| members & 1 << member != 0);
        3 * held.map(|(_, power)| power).sum::<u64>() > thirds * self.0.iter().sum::<u64>()
    }
}

pub(super) struct Branches {
    pub(super) names: Vec<&'static str>,
    pub(super) parting: u64,
    without: Option<Check>,
    logs: [World; BRANCHES],
    /// After so many certificates above the parting.
    ledgers: [Vec<Ledger>; BRANCHES],
    asked: Mutex<Asked>,
}

/// What the production code was asked, and what it said.
#[derive(Default)]
struct Asked {
    due: HashMap<(usize, usize, usize, Option<Place>), Option<Place>>,
    accepted: HashMap<(Place, Members, Members), bool>,
    given_away: HashMap<(usize, Place, Place, bool), bool>,
}

impl Branches {
    pub(super) fn new(powers: &[u64], parting: u64, difference: Difference, without: Option<Check>) -> Self {
        let names = NAMES[..powers.len()].to_vec();
        let logs = logs(&names, powers, parting, difference);
        let ledgers = [0, 1].map(|branch| ledgers(&logs[branch], &names, parting));
        let branches = Self { names, parting, without, logs, ledgers, asked: Mutex::default() };
        branches.check_that_they_part();
        branches
    }

    fn check_that_they_part(&self) {
        let block = |height, branch| self.block(Place { height, branch });
        assert!((FIRST..self.parting).all(|height| block(height, 0) == block(height, 1)));
        assert!((self.parting..END).all(|height| block(height, 0) != block(height, 1)));
    }

    fn chain(&self, branch: usize) -> &Chain {
        &self.logs[branch].ledger.chains()[0]
    }

    fn block(&self, place: Place) -> Hash32 {
        self.logs[place.branch].log[place.height as usize].header.hash()
    }

    /// The set that a branch's ledger has fixed for a height.
    fn fixed(&self, place: Place) -> &Set {
        &self.chain(place.branch).sets[&TERMS.epoch_of(Height(place.height))].set
    }

    fn powers(&self, place: Place) -> Powers {
        let set = self.fixed(place);
        let power = |name: &&str| set.find(&provider_key(name)).map_or(0, |(_, own)| own.power.to_sat());
        Powers(self.names.iter().map(power).collect())
    }

    /// The first branch's set at a height.
    pub(super) fn set(&self, height: u64) -> Powers {
        self.powers(Place { height, branch: 0 })
    }

    /// All sets of both branches.
    pub(super) fn sets(&self) -> impl Iterator<Item = Powers> + '_ {
        let places =
            (FIRST..END).flat_map(|height| (0..BRANCHES).map(move |branch| Place { height, branch }));
        places.map(|place| self.powers(place))
    }

    /// Whether both branches' sets of a height have the same keys, powers and roots.
    pub(super) fn agree(&self, height: u64) -> bool {
        let [first, second] = [0, 1].map(|branch| self.fixed(Place { height, branch }).members());
        first == second
    }

    /// What an honest member's own rules say it should vote for on a branch that has so many certificates above the parting.
    pub(super) fn due(
        &self,
        member: usize,
        branch: usize,
        held: usize,
        last: Option<Place>,
    ) -> Option<Place> {
        let key = (member, branch, held, last);
        if let Some(known) = self.asked.lock().unwrap().due.get(&key) {
            return *known;
        }
        let place = self.judge_due(member, branch, held, last);
        self.asked.lock().unwrap().due.insert(key, place);
        place
    }

    fn judge_due(&self, member: usize, branch: usize, held: usize, last: Option<Place>) -> Option<Place> {
        // Its log may have fewer of these certificates than it holds.
        let logged = (0..=held).rev().filter(|logged| *logged < self.ledgers[branch].len());
        let due = logged.filter_map(|logged| self.due_with_log(member, branch, (logged, held), last));
        // Where its log is short and it has not voted yet, an earlier height is due first: that is a state before this one.
        let due: Vec<Due> = due.filter(|due| due.height.0 == self.parting + held as u64).collect();
        assert!(due.windows(2).all(|pair| pair[0] == pair[1]), "whatever the log has: {due:?}");
        let due = due.first()?;
        let place = Place { height: due.height.0, branch };
        // Its signer has one record, and signs only under the root that is its own.
        let own = nonces(self.names[member], 0, &self.chain(branch).vote, TERMS.epoch_of(due.height));
        let root = nonce_tree(own.iter().map(SecretNonce::public)).root();
        (due.member.nonce_root == root).then_some(place)
    }

    fn due_with_log(
        &self,
        member: usize,
        branch: usize,
        (logged, held): (usize, usize),
        last: Option<Place>,
    ) -> Option<Due> {
        let ledger = self.ledgers[branch].get(logged)?;
        let last = last.map(|place| LastVote { height: Height(place.height), block: self.block(place) });
        let newest = (held > logged).then(|| Place { height: self.parting + held as u64 - 1, branch });
        let context = ledger.chains()[0].vote;
        let held = newest.map(|at| Held { context, height: Height(at.height), block: self.block(at) });
        let voting = Voting { key: provider_key(self.names[member]), last, btc_tip: BtcHeight(0), held };
        ballots::due(ledger, &ledger.chains()[0], &voting).ok()
    }

    /// Whether the certificate of these voters counts, if those who are faulty among them do their worst.
    pub(super) fn accepts(&self, place: Place, voters: Members, faulty: Members) -> bool {
        let key = (place, voters, faulty);
        if voters == 0 {
            return false;
        }
        if let Some(known) = self.asked.lock().unwrap().accepted.get(&key) {
            return *known;
        }
        let accepted = self.judge(place, voters, faulty);
        self.asked.lock().unwrap().accepted.insert(key, accepted);
        accepted
    }

    fn judge(&self, place: Place, voters: Members, faulty: Members) -> bool {
        let of = |members: Members| (0..self.names.len()).filter(move |member| members & 1 << member != 0);
        let named = self.named(place, faulty);
        let votes: Vec<Vote> =
            of(voters).map(|member| self.vote(member, place, faulty & 1 << member != 0)).collect();
        let Some(set) = named else { return false };
        if of(voters).any(|member| set.find(&provider_key(self.names[member])).is_none()) {
            return false;
        }
        let made = Certificate::assemble(votes[0].ballot, &set, &votes);
        let is_fixed = made.set == *self.fixed(place).header();
        let may_be_another =
            matches!(self.without, Some(Check::RootsOfSet | Check::FixedSet | Check::OneContext));
        let counts = match (made.verify(&TERMS), self.without) {
            (Ok(()), _) => true,
            (Err(BadCertificate::NoQuorum { power, total }), Some(Check::MoreThanTwoThirds)) => {
                3 * power.to_sat() >= 2 * total.to_sat()
            }
            (Err(BadCertificate::Vote { why: BadVote::Nonce, .. }), Some(Check::NonceOfHeight)) => true,
            _ => false,
        };
        counts && (is_fixed || may_be_another)
    }

    /// The set that a certificate names: the one that was fixed, or what the variant lets the faulty name on the second branch.
    fn named(&self, place: Place, faulty: Members) -> Option<Set> {
        let fixed = self.fixed(place);
        let (context, mut members) = (self.context(place), fixed.members().to_vec());
        let is_faulty = |member: &Member| {
            let place = self.names.iter().position(|name| provider_key(name) == member.key);
            place.is_some_and(|place| faulty & 1 << place != 0)
        };
        if place.branch == 1 {
            match self.without {
                Some(Check::FixedSet) => members.retain(is_faulty),
                Some(Check::RootsOfSet | Check::OneContext) => {}
                _ => return Some(fixed.clone()),
            }
        }
        for member in members.iter_mut().filter(|member| is_faulty(member)) {
            let place_of = self.names.iter().position(|name| provider_key(name) == member.key)?;
            let (_, root) = self.nonce(place_of, place, true);
            member.nonce_root = root;
        }
        let header = fixed.header();
        Set::new(context, header.epoch, header.expiry, members).ok()
    }

    /// The context of the votes for a block.
    fn context(&self, place: Place) -> Context {
        let zero = &self.chain(place.branch).identity;
        let next = ChainIdentity { incarnation: zero.incarnation + 1, ..zero.clone() };
        match self.without {
            Some(Check::OneContext) if place.branch == 1 => next.context(Purpose::Vote),
            _ => zero.context(Purpose::Vote),
        }
    }

    /// The nonces of a member's epoch and their root: those of the branch, or what a faulty one has on the second branch.
    fn nonce(&self, member: usize, place: Place, faulty: bool) -> (Vec<SecretNonce>, Hash32) {
        let epoch = TERMS.epoch_of(Height(place.height));
        let name = self.names[member];
        let own = |seed| {
            let nonces = nonces(name, seed, &self.context(place), epoch);
            let root = nonce_tree(nonces.iter().map(SecretNonce::public)).root();
            (nonces, root)
        };
        let worst = faulty && place.branch == 1;
        match self.without {
            Some(Check::RootsOfSet) if worst => own(2),
            Some(Check::OneContext) => own(0),
            _ => {
                let named = self.fixed(place).find(&provider_key(name)).map(|(_, own)| own.nonce_root);
                (0..2).map(own).find(|(_, root)| Some(*root) == named).unwrap_or_else(|| own(0))
            }
        }
    }

    fn vote(&self, member: usize, place: Place, faulty: bool) -> Vote {
        let name = self.names[member];
        let (mut nonces, _) = self.nonce(member, place, faulty);
        let tree = nonce_tree(nonces.iter().map(SecretNonce::public));
        let right = (place.height % TERMS.epoch_length) as usize;
        let evades = faulty && place.branch == 1 && self.without == Some(Check::NonceOfHeight);
        let index = if evades { 1 - right } else { right };
        let (path, secret) = (tree.path(index).unwrap(), nonces.swap_remove(index));
        let ballot =
            Ballot { context: self.context(place), height: Height(place.height), block: self.block(place) };
        let nonce = secret.public();
        let signature = eots::sign(&pair(name), secret, &ballot.message());
        Vote { ballot, key: provider_key(name), nonce, signature, path }
    }

    /// Whether some two of a member's votes give its key away.
    pub(super) fn gives_away(&self, member: usize, votes: &BTreeSet<Place>, faulty: Members) -> bool {
        let faulty = faulty & 1 << member != 0;
        let mut pairs = votes.iter().flat_map(|a| votes.range(..a).map(move |b| (*a, *b)));
        pairs.any(|(a, b)| {
            let key = (member, a, b, faulty);
            let known = self.asked.lock().unwrap().given_away.get(&key).copied();
            known.unwrap_or_else(|| {
                let [a, b] = [a, b].map(|place| self.vote(member, place, faulty));
                let out = Evidence::from_votes(&a, &b).is_some_and(|found| found.secret().is_ok());
                self.asked.lock().unwrap().given_away.insert(key, out);
                out
            })
        })
    }
}
