//! Times as people write them, and as we show them: Bitcoin counts blocks, people count days.
//!
//! A block is taken for ten minutes. That is an estimate: what binds is the height.

use crate::amount;
use bitcoin::Network;
use palisade_protocol::units::RelativeBlocks;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const BLOCK_S: u64 = 600;
const DAY_S: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The computer's clock.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// When so many more blocks will be there, about.
    pub fn after_blocks(self, blocks: u32) -> Self {
        Self(self.0.saturating_add(u64::from(blocks) * BLOCK_S))
    }
}

/// The day, as `12 Dec 2026`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / DAY_S);
        let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
        write!(f, "{day} {name} {year}")
    }
}

/// How long to lock, before it is known from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So many blocks.
    Blocks(u32),
    /// Until the beginning of a day: days since 1970.
    Until(u64),
}

/// A text that is no time to lock for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    /// Not a time that we read.
    #[error(
        "`{0}` is no time to lock for: write \"2000 blocks\", \"30 days\", \"6 weeks\" or a date like 2027-03-01"
    )]
    Unreadable(String),
    /// A day that has begun already.
    #[error("that day has begun already: write a later date")]
    Over,
    /// More blocks than a timelock can have, or none.
    #[error("that is {0} blocks: a timelock has 1 to 65535 (about 455 days)")]
    OutOfRange(u64),
}

impl Span {
    /// Reads `2000 blocks`, `12 hours`, `30 days`, `6 weeks`, `2027-03-01`.
    pub fn parse(text: &str) -> Result<Self, BadSpan> {
        let unreadable = || BadSpan::Unreadable(text.to_owned());
        let trimmed = text.trim();
        if let Some(day) = parse_date(trimmed) {
            return Ok(Self::Until(day));
        }
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(unreadable)?;
        let (number, unit) = trimmed.split_at(split);
        let number = amount::ungroup(number.trim()).ok_or_else(unreadable)?;
        let number: u32 = number.parse().map_err(|_| unreadable())?;
        let blocks_each = match unit {
            "block" | "blocks" => 1,
            "hour" | "hours" => 6,
            "day" | "days" => 144,
            "week" | "weeks" => 1_008,
            _ => return Err(unreadable()),
        };
        let blocks = u64::from(number) * blocks_each;
        u32::try_from(blocks).map(Self::Blocks).map_err(|_| BadSpan::OutOfRange(blocks))
    }

    /// The timelock that ends then, if it began now.
    pub fn blocks(self, now: Moment) -> Result<RelativeBlocks, BadSpan> {
        let blocks = match self {
            Self::Blocks(blocks) => u64::from(blocks),
            Self::Until(day) if day * DAY_S <= now.0 => return Err(BadSpan::Over),
            Self::Until(day) => (day * DAY_S).saturating_sub(now.0).div_ceil(BLOCK_S),
        };
        let short = u16::try_from(blocks).ok().and_then(|short| RelativeBlocks::new(short).ok());
        short.ok_or(BadSpan::OutOfRange(blocks))
    }
}

/// How blocks are told as times: on regtest not at all, because there blocks are made by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar(Option<Moment>);

impl Calendar {
    /// From now on.
    pub fn of(network: Network) -> Self {
        Self::from(Moment::now(), network)
    }

    /// From a moment on.
    pub fn from(now: Moment, network: Network) -> Self {
        Self(Some(now).filter(|_| network != Network::Regtest))
    }

    /// `2,000 blocks (about 14 days)`.
    pub fn blocks(self, count: u32) -> String {
        let unit = if count == 1 { "block" } else { "blocks" };
        let blocks = format!("{} {unit}", amount::group(count.into()));
        match self.0 {
            Some(_) => format!("{blocks} ({})", about(u64::from(count) * BLOCK_S)),
            None => blocks,
        }
    }

    /// `block 2112, about 5 Dec 2026`, with the tip at a height.
    pub fn height(self, height: u32, tip: u32) -> String {
        match self.0 {
            Some(now) => format!("block {height}, about {}", now.after_blocks(height.saturating_sub(tip))),
            None => format!("block {height}"),
        }
    }
}

fn about(seconds: u64) -> String {
    let nearest = |unit: u64| (seconds + unit / 2) / unit;
    let (number, unit) = match seconds {
        0..7_200 => (nearest(60), "minute"),
        7_200..172_800 => (nearest(3_600), "hour"),
        _ => (nearest(DAY_S), "day"),
    };
    format!("about {number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn parse_date(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    // A longer number could be too large to count days with.
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let days = days_until(year, month, day)?;
    // Only a day that exists comes back as itself.
    (date_of(days) == (year, month, day)).then_some(days)
}

/// Days from 1 January 1970 to a day of the Gregorian calendar (years counted from March, so that the leap day is last).
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let in_year = (153 * shifted_month + 2) / 5 + day;
    (shifted_year * 365 + leap_days + in_year).checked_sub(719_469)
}

/// Year, month and day of so many days after 1 January 1970.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let in_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 21 November 2026, 12:00 UTC.
    const NOW: Moment = Moment(1_795_262_400);

    fn blocks(text: &str) -> Result<u16, BadSpan> {
        Span::parse(text)?.blocks(NOW).map(RelativeBlocks::get)
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, expected) in [
            ("2000 blocks", 2_000),
            ("1 block", 1),
            ("2000blocks", 2_000),
            ("2,000 blocks", 2_000),
            ("12 hours", 72),
            ("30 days", 4_320),
            ("1 day", 144),
            (" 6 weeks ", 6_048),
            ("65535 blocks", 65_535),
            ("2026-11-22", 72),
            ("2027-03-01", 14_328),
        ] {
            assert_eq!(blocks(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        let unreadable = [
            "",
            "2000",
            "days",
            "-5 days",
            "1.5 days",
            "30 d",
            "20,00 blocks",
            "5 years",
            "2027-3-1",
            "18446744073709551615-03-01",
            "2027-03-18446744073709551615",
            "2027-02-30",
            "01-03-2027",
        ];
        for text in unreadable {
            assert_eq!(blocks(text), Err(BadSpan::Unreadable(text.to_owned())), "{text}");
        }
        for (text, found) in
            [("0 blocks", 0), ("65536 blocks", 65_536), ("4000000000 weeks", 4_032_000_000_000)]
        {
            assert_eq!(blocks(text), Err(BadSpan::OutOfRange(found)), "{text}");
        }
        for text in ["2026-11-21", "2019-02-03"] {
            assert_eq!(blocks(text), Err(BadSpan::Over), "{text}");
        }
    }

    #[test]
    fn days_are_shown_by_name_and_each_day_follows_the_day_before() {
        assert_eq!(NOW.to_string(), "21 Nov 2026");
        assert_eq!(Moment(0).to_string(), "1 Jan 1970");
        assert_eq!(NOW.after_blocks(144).to_string(), "22 Nov 2026");
        assert_eq!(Moment(1_709_208_000).to_string(), "29 Feb 2024");
        for days in 0..60_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_until(year, month, day), Some(days));
        }
    }

    #[test]
    fn blocks_are_shown_with_their_time_except_where_they_are_made_by_hand() {
        let [signet, regtest] = [Network::Signet, Network::Regtest].map(|net| Calendar::from(NOW, net));
        for (count, blocks, time) in [
            (0, "0 blocks", " (about 0 minutes)"),
            (1, "1 block", " (about 10 minutes)"),
            (18, "18 blocks", " (about 3 hours)"),
            (2_000, "2,000 blocks", " (about 14 days)"),
        ] {
            assert_eq!(signet.blocks(count), format!("{blocks}{time}"));
            assert_eq!(regtest.blocks(count), blocks);
        }
        assert_eq!(signet.height(244, 100), "block 244, about 22 Nov 2026");
        assert_eq!(signet.height(99, 100), "block 99, about 21 Nov 2026");
        assert_eq!(regtest.height(244, 100), "block 244");
    }
}
