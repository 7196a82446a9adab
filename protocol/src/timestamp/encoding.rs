//! Numbers and byte strings of OpenTimestamps, and what can be wrong with them.

use crate::codec::{DecodeError, Reader};

/// Why bytes are not a standard timestamp file. A retry with the same bytes never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtsInvalid {
    /// The file is longer than [`super::FILE_MAX`].
    #[error("file of {found} bytes, at most {} are read", super::FILE_MAX)]
    FileTooLong {
        /// Its length.
        found: usize,
    },
    /// The file does not begin as detached timestamps do.
    #[error("not an OpenTimestamps proof: the first bytes differ")]
    Magic,
    /// The major version is not 1.
    #[error("version {found} of the format is not known")]
    Version {
        /// The version found.
        found: u64,
    },
    /// The file is about a digest other than SHA-256.
    #[error("file hash {found:#04x} is not SHA-256")]
    FileHash {
        /// Tag of the hash operation found.
        found: u8,
    },
    /// No operation has this tag, or one that is not evaluated here (keccak256).
    #[error("operation {found:#04x} is not known")]
    UnknownOp {
        /// The tag.
        found: u8,
    },
    /// The argument of an append or prepend is empty or longer than [`super::MESSAGE_MAX`].
    #[error("argument of {found} bytes, 1 to {} are allowed", super::MESSAGE_MAX)]
    ArgumentLength {
        /// Its length.
        found: u64,
    },
    /// The result of an operation is longer than [`super::MESSAGE_MAX`].
    #[error("result of {found} bytes, at most {} are allowed", super::MESSAGE_MAX)]
    ResultTooLong {
        /// Its length.
        found: usize,
    },
    /// More than [`super::OPS_MAX`] operations follow each other.
    #[error("more than {} operations in a row", super::OPS_MAX)]
    TooDeep,
    /// A number has more bytes than it needs, or more than 64 bits.
    #[error("a number is not LEB128 in its shortest form, or exceeds 64 bits")]
    Number,
    /// The payload of an attestation or the address of a calendar is too long.
    #[error("attestation holds {found} bytes, at most {max} are allowed")]
    AttestationTooLong {
        /// Its length.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// A Bitcoin attestation names a height that no block can have.
    #[error("{found} is not the height of a Bitcoin block")]
    Height {
        /// The height found.
        found: u64,
    },
    /// The address of a calendar has a character that the standard forbids.
    #[error("calendar address has the forbidden byte {found:#04x}")]
    CalendarAddress {
        /// The first such byte.
        found: u8,
    },
    /// The bytes end early, or do not end where the value does.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
}

/// The next byte.
pub(super) fn byte(reader: &mut Reader<'_>) -> Result<u8, OtsInvalid> {
    let [byte] = reader.array()?;
    Ok(byte)
}

/// The next number: unsigned LEB128. Only the shortest form is read, so that a file has one spelling.
pub(super) fn number(reader: &mut Reader<'_>) -> Result<u64, OtsInvalid> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = byte(reader)?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits.checked_shl(shift).unwrap_or_default();
        if shifted.checked_shr(shift) != Some(bits) || (byte == 0 && shift > 0) {
            return Err(OtsInvalid::Number);
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(OtsInvalid::Number)
}

/// Writes a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// The next byte string, if `allows` its stated length.
pub(super) fn bytes<'a>(
    reader: &mut Reader<'a>,
    allows: impl Fn(u64) -> Result<(), OtsInvalid>,
) -> Result<&'a [u8], OtsInvalid> {
    let length = number(reader)?;
    allows(length)?;
    Ok(reader.take(usize::try_from(length).unwrap_or(usize::MAX))?)
}

/// Writes a byte string behind its length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Refuses what follows the end of a value.
pub(super) fn end(reader: &Reader<'_>) -> Result<(), OtsInvalid> {
    match reader.left() {
        0 => Ok(()),
        left => Err(DecodeError::Trailing(left).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (bytes, wanted) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok(u64::MAX)),
            (&[0x80, 0x00], Err(OtsInvalid::Number)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], Err(OtsInvalid::Number)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], Err(OtsInvalid::Number)),
            (&[0x80], Err(DecodeError::Truncated { wanted: 1, left: 0 }.into())),
        ] {
            assert_eq!(number(&mut Reader::new(bytes)), wanted, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written(n in prop_oneof![any::<u64>(), 0u64..100_000]) {
            let mut out = Vec::new();
            put_number(&mut out, n);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(number(&mut reader), Ok(n));
            prop_assert_eq!(reader.left(), 0);
        }
    }
}
