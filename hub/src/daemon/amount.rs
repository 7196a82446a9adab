//! Amounts on command lines.

use bitcoin::Amount;

/// Refuses more than there can be.
pub fn possible(amount: Amount) -> Result<Amount, String> {
    if amount > Amount::MAX_MONEY {
        return Err(format!("{amount} is more than all bitcoin there can be, {}", Amount::MAX_MONEY));
    }
    Ok(amount)
}
