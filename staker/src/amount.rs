//! Amounts and fee rates as people write them.
//!
//! Everywhere amounts are shown to people as [`Amount`] prints itself, `0.20000000 BTC`, and fee rates in sat/vB. In JSON an
//! amount is a whole number of satoshis, and its name ends in `_sat`.

use bitcoin::{Amount, Denomination, FeeRate};

/// A text that is no amount of bitcoin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAmount {
    /// No unit: 1 could be a satoshi or a bitcoin.
    #[error("`{0}` has no unit: write for example \"0.5 BTC\" or \"50,000 sat\"")]
    NoUnit(String),
    /// A unit that we do not take.
    #[error("`{0}` is no unit: BTC, mBTC and sat are")]
    Unit(String),
    /// Not a number of that unit.
    #[error("`{0}` is not an amount: write for example \"0.5 BTC\" or \"50,000 sat\"")]
    Number(String),
    /// Nothing.
    #[error("the amount is zero")]
    Zero,
}

/// Reads `0.5 BTC`, `500 mBTC`, `50000 sat`, `50,000 sat`. A unit is needed, and a comma only groups satoshis by threes, so
/// that no decimal comma is taken for something else.
pub fn parse(text: &str) -> Result<Amount, BadAmount> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let denomination = match unit {
        "" => return Err(BadAmount::NoUnit(text.to_owned())),
        "BTC" | "btc" => Denomination::Bitcoin,
        "mBTC" => Denomination::MilliBitcoin,
        "sat" | "sats" => Denomination::Satoshi,
        other => return Err(BadAmount::Unit(other.to_owned())),
    };
    let bad = || BadAmount::Number(text.to_owned());
    let digits = match denomination {
        Denomination::Satoshi => ungroup(number.trim()).ok_or_else(bad)?,
        _ => number.trim().to_owned(),
    };
    if digits.starts_with(['+', '-']) {
        return Err(bad());
    }
    let amount = Amount::from_str_in(&digits, denomination).map_err(|_| bad())?;
    if amount == Amount::ZERO { Err(BadAmount::Zero) } else { Ok(amount) }
}

/// Takes the commas out of `1,234,567`; `None` if they do not group by threes.
pub fn ungroup(number: &str) -> Option<String> {
    let mut groups = number.split(',');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let grouped = rest.is_empty() || (1..=3).contains(&first.len());
    (grouped && rest.iter().all(|group| group.len() == 3)).then(|| [first, &rest.concat()].concat())
}

/// `1,234,567`.
pub fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text that is no fee rate, or one that nobody means.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fee rate: write a number of sat/vB from 0.1 to 1000, for example \"2.5 sat/vB\"")]
pub struct BadFeeRate(String);

/// The highest fee rate that is paid.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(1_000);

/// Reads `5`, `2.5`, `5 sat/vB`.
pub fn parse_fee_rate(text: &str) -> Result<FeeRate, BadFeeRate> {
    let bad = || BadFeeRate(text.to_owned());
    let number = text.trim().trim_end_matches("sat/vB").trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) || part.len() > 3 || whole.len() > 4 {
        return Err(bad());
    }
    let milli: u64 = format!("{whole}{part:0<3}").parse().map_err(|_| bad())?;
    // A vbyte is four weight units: thousandths of sat/vB become sat/kwu by a quarter.
    match milli {
        100..=1_000_000 => Ok(FeeRate::from_sat_per_kwu(milli.div_ceil(4))),
        _ => Err(bad()),
    }
}

/// `2.5 sat/vB`.
pub fn show_fee_rate(rate: FeeRate) -> String {
    // A vbyte is four weight units: sat/kwu times four are thousandths of sat/vB.
    let milli = rate.to_sat_per_kwu().saturating_mul(4);
    let (whole, part) = (milli / 1_000, format!("{:03}", milli % 1_000));
    match part.trim_end_matches('0') {
        "" => format!("{whole} sat/vB"),
        part => format!("{whole}.{part} sat/vB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, sat) in [
            ("0.5 BTC", 50_000_000),
            ("0.5btc", 50_000_000),
            (" 1 BTC ", 100_000_000),
            ("12.5 mBTC", 1_250_000),
            ("50000 sat", 50_000),
            ("50,000 sats", 50_000),
            ("1,234,567sat", 1_234_567),
            ("0.00000001 BTC", 1),
            ("21000000 BTC", 2_100_000_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Amount::from_sat(sat)), "{text}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        let number = |text: &str| Err(BadAmount::Number(text.to_owned()));
        for (text, refused) in [
            ("50000", Err(BadAmount::NoUnit("50000".into()))),
            ("", Err(BadAmount::NoUnit(String::new()))),
            ("1 MBTC", Err(BadAmount::Unit("MBTC".into()))),
            ("1 Sat", Err(BadAmount::Unit("Sat".into()))),
            ("5 eur", Err(BadAmount::Unit("eur".into()))),
            ("0,5 BTC", number("0,5 BTC")),
            ("1,000.5 BTC", number("1,000.5 BTC")),
            ("5,00 sat", number("5,00 sat")),
            ("0.5 sat", number("0.5 sat")),
            ("0.000000001 BTC", number("0.000000001 BTC")),
            ("-1 BTC", number("-1 BTC")),
            ("+1 BTC", number("+1 BTC")),
            ("BTC", number("BTC")),
            ("99999999999999999999 BTC", number("99999999999999999999 BTC")),
            ("0 sat", Err(BadAmount::Zero)),
            ("0.00 BTC", Err(BadAmount::Zero)),
        ] {
            assert_eq!(parse(text), refused, "{text}");
        }
    }

    #[test]
    fn fee_rates_are_read_within_reason() {
        for (text, kwu) in
            [("1", 250), ("2.5 sat/vB", 625), ("0.1", 25), ("1000sat/vB", 250_000), ("0.101", 26)]
        {
            let rate = parse_fee_rate(text).unwrap();
            assert_eq!(rate.to_sat_per_kwu(), kwu, "{text}");
        }
        for (kwu, text) in [(250, "1 sat/vB"), (625, "2.5 sat/vB"), (26, "0.104 sat/vB"), (0, "0 sat/vB")] {
            assert_eq!(show_fee_rate(FeeRate::from_sat_per_kwu(kwu)), text);
        }
        for text in ["", "0", "0.05", "1001", "99999", "-1", "1.2345", "1,5", "fast", "1 sat/kB", ".5"] {
            assert_eq!(parse_fee_rate(text), Err(BadFeeRate(text.to_owned())), "{text}");
        }
    }
}
