//! Which fee rate is paid where nobody says.

use crate::amount;
use crate::failures;
use crate::session::Session;
use bitcoin::FeeRate;
use palisade_hub::bitcoind::{BitcoinRpc, FeeRates};
use palisade_hub::daemon::exit::Failure;

/// Blocks within which a transaction should confirm when no fee rate is given.
const FEE_TARGET: u16 = 6;
/// What is paid while the node has no opinion, as on regtest.
const FALLBACK_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

/// The fee rate asked for, or the node's estimate.
pub async fn fee_rate(session: &Session, asked: Option<FeeRate>) -> Result<FeeRate, Failure> {
    fee_rate_of(&session.node, asked).await
}

/// The same with only a node. An estimate that nobody could have meant to ask for is not taken for what is meant.
pub async fn fee_rate_of(node: &BitcoinRpc, asked: Option<FeeRate>) -> Result<FeeRate, Failure> {
    let rate = match asked {
        Some(rate) => return Ok(rate),
        None => estimate(node).await?.estimate,
    };
    if rate <= amount::MAX_FEE_RATE {
        return Ok(rate);
    }
    let [rate, most] = [rate, amount::MAX_FEE_RATE].map(amount::show_fee_rate);
    Err(Failure::not_now(format_args!(
        "your Bitcoin node says that {rate} are needed: more than {most} is not paid"
    ))
    .hint("--fee-rate RATE says what is; is your node in order?"))
}

/// The node's estimate, whatever it is, and the least that it takes.
pub async fn estimate(node: &BitcoinRpc) -> Result<FeeRates, Failure> {
    node.fee_rates(FEE_TARGET, FALLBACK_RATE).await.map_err(failures::node)
}
