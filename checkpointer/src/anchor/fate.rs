//! What became of anchors that were sent: in a block, waiting, or given up because something else has their coins.

use super::Anchorer;
use super::build::inputs;
use super::flight::{Flight, Version};
use crate::shell::PassError;
use bitcoin::{OutPoint, Txid};
use palisade_hub::bitcoind::RpcError;
use std::collections::BTreeSet;

/// Where a flight is.
enum Place {
    /// One of its transactions is in a block, so deep.
    Mined(u32),
    /// None is.
    Waiting,
}

impl Anchorer {
    /// Ends flights that are deep in Bitcoin; gives those that are in no block, back on the wire.
    pub(super) async fn look_at_flights(&mut self) -> Result<Vec<Flight>, PassError> {
        let ledger = self.replica.ledger();
        let deep = ledger.params_at(ledger.btc_height()).1.k();
        let mut waiting = Vec::new();
        for flight in self.flights.open_ones()? {
            match self.place_of(&flight).await? {
                Place::Mined(depth) if depth >= deep => self.flights.end(flight.id)?,
                Place::Mined(_) => {}
                Place::Waiting => {
                    if self.send_again(&flight).await? {
                        waiting.push(flight);
                    }
                }
            }
        }
        Ok(waiting)
    }

    async fn place_of(&self, flight: &Flight) -> Result<Place, PassError> {
        for version in flight.versions.iter().rev() {
            let found = self.bitcoin.raw_transaction(version.txid()).await?;
            let Some(block) = found.and_then(|found| found.mined_in) else { continue };
            if self.bitcoin.height_of(block).await?.is_some() {
                // As deep as the ledger knows: by then it has heard of the anchor too.
                let known = self.replica.ledger().bitcoin();
                let depth = known.height_of(&block).and_then(|height| known.depth_of(height));
                return Ok(Place::Mined(depth.unwrap_or(0)));
            }
        }
        Ok(Place::Waiting)
    }

    /// Sends the newest version that can confirm, in case the node does not have it. A flight is over where none can: its coin is
    /// gone, or something else in the mempool spends it.
    async fn send_again(&self, flight: &Flight) -> Result<bool, PassError> {
        let mut over = None;
        for version in flight.versions.iter().rev() {
            let refusal = match self.bitcoin.send_raw_transaction(&version.transaction).await {
                Ok(_) => return Ok(true),
                Err(RpcError::Refused { message, .. }) => message,
                Err(why) => return Err(why.into()),
            };
            let why = if refusal.contains("missingorspent") {
                self.why_gone(flight.id, version).await?
            } else if is_for_ever(&refusal) {
                "no node takes it: it breaks a rule of Bitcoin"
            } else if self.has_rival(flight, version).await? {
                "another transaction in the mempool spends its coin"
            } else {
                // An older version is still in the mempool and pays as much, or the node wants more than it pays: it is
                // replaced when its time comes.
                tracing::debug!(txid = %version.txid(), refusal, "the node does not take an anchor again");
                return Ok(true);
            };
            over = over.or(Some((version.txid(), why)));
        }
        if let Some((txid, why)) = over {
            tracing::warn!(%txid, why, "an anchor cannot confirm; another one will be made");
        }
        self.flights.end(flight.id)?;
        Ok(false)
    }

    /// Whether something else than a flight's own versions spends a coin of one of them in the mempool.
    async fn has_rival(&self, flight: &Flight, version: &Version) -> Result<bool, PassError> {
        let coins: Vec<OutPoint> = inputs(version).collect();
        let spends = self.bitcoin.spends_in_mempool(&coins).await?;
        let own: Vec<Txid> = flight.versions.iter().map(Version::txid).collect();
        Ok(spends.into_iter().flatten().any(|txid| !own.contains(&txid)))
    }

    /// Coins of the wallet that something else than a flight's versions spends in the mempool.
    pub(super) async fn taken(&self, flight: Option<&Flight>) -> Result<BTreeSet<OutPoint>, PassError> {
        let coins = self.wallet.purse.coins(&BTreeSet::new());
        let coins: Vec<OutPoint> = coins.iter().map(|coin| coin.outpoint).collect();
        let spends = self.bitcoin.spends_in_mempool(&coins).await?;
        let own: Vec<Txid> =
            flight.into_iter().flat_map(|flight| &flight.versions).map(Version::txid).collect();
        let is_taken = |spend: Option<Txid>| spend.is_some_and(|txid| !own.contains(&txid));
        Ok(coins
            .into_iter()
            .zip(spends)
            .filter(|(_, spend)| is_taken(*spend))
            .map(|(coin, _)| coin)
            .collect())
    }

    /// Why a version's coins are not there. A reorganisation can take away the transaction that made one, or leave two anchors of
    /// ours that spend the same.
    async fn why_gone(&self, flight: i64, version: &Version) -> Result<&'static str, PassError> {
        let others = self.flights.open_ones()?;
        let others = || others.iter().filter(|own| own.id != flight).flat_map(|own| &own.versions);
        for coin in inputs(version) {
            if others().any(|own| inputs(own).any(|other| other == coin)) {
                return Ok(
                    "another anchor of this wallet spent its coin: Bitcoin was reorganised between the two",
                );
            }
            let found = self.bitcoin.raw_transaction(coin.txid).await?;
            if found.and_then(|found| found.mined_in).is_none() {
                return Ok("a reorganisation of Bitcoin took the transaction away that made its coin");
            }
        }
        Ok("another transaction spent its coin")
    }
}

/// Whether a node's refusal says that a transaction can never be in a block, whatever the mempool holds and asks for.
fn is_for_ever(refusal: &str) -> bool {
    ["script-verify-flag", "bad-"].iter().any(|of_rules| refusal.contains(of_rules))
}
