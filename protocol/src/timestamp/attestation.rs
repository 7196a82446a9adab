//! Who says that a message existed.

use super::encoding::{self, OtsInvalid};
use crate::codec::Reader;

/// Longest payload of an attestation, in bytes.
const PAYLOAD_MAX: u64 = 8_192;

/// Longest address of a calendar, in bytes.
const ADDRESS_MAX: u64 = 1_000;

const BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01];
const PENDING: [u8; 8] = [0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];

/// The end of a way through a timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attestation {
    /// The message is the Merkle root of the Bitcoin block at this height, in internal byte order.
    Bitcoin {
        /// Height of the block.
        height: u32,
    },
    /// A calendar promises to know the rest of the way later. Proves nothing yet.
    Pending {
        /// Address of the calendar: letters, digits and `-._/:` only.
        calendar: String,
    },
    /// Another witness (Litecoin among them), kept as it was. Proves nothing here.
    Unknown {
        /// What kind it is.
        tag: [u8; 8],
        /// What it says.
        payload: Vec<u8>,
    },
}

impl Attestation {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, OtsInvalid> {
        let tag = reader.array()?;
        let payload = bounded(reader, PAYLOAD_MAX)?;
        let mut inner = Reader::new(payload);
        let attestation = match tag {
            BITCOIN => {
                let found = encoding::number(&mut inner)?;
                let height = u32::try_from(found).map_err(|_| OtsInvalid::Height { found })?;
                Self::Bitcoin { height }
            }
            PENDING => Self::Pending { calendar: calendar(bounded(&mut inner, ADDRESS_MAX)?)? },
            _ => return Ok(Self::Unknown { tag, payload: payload.to_vec() }),
        };
        encoding::end(&inner)?;
        Ok(attestation)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        let tag = match self {
            Self::Bitcoin { height } => {
                encoding::put_number(&mut payload, u64::from(*height));
                &BITCOIN
            }
            Self::Pending { calendar } => {
                encoding::put_bytes(&mut payload, calendar.as_bytes());
                &PENDING
            }
            Self::Unknown { tag, payload: unknown } => {
                payload.extend_from_slice(unknown);
                tag
            }
        };
        out.extend_from_slice(tag);
        encoding::put_bytes(out, &payload);
    }
}

fn bounded<'a>(reader: &mut Reader<'a>, max: u64) -> Result<&'a [u8], OtsInvalid> {
    encoding::bytes(reader, |found| match found <= max {
        true => Ok(()),
        false => Err(OtsInvalid::AttestationTooLong { found, max }),
    })
}

fn calendar(address: &[u8]) -> Result<String, OtsInvalid> {
    let forbidden = |byte: &&u8| !byte.is_ascii_alphanumeric() && !b"-._/:".contains(byte);
    match address.iter().find(forbidden) {
        Some(found) => Err(OtsInvalid::CalendarAddress { found: *found }),
        None => Ok(address.iter().copied().map(char::from).collect()),
    }
}
