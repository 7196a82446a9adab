//! How public values of fixed size are written: lowercase hex for people and JSON, the bytes themselves on the wire.

/// Gives a type with `to_bytes` its text, JSON and wire forms. The last argument makes the value, or refuses the bytes.
macro_rules! byte_value {
    ($name:ident, $size:literal, $what:literal, $make:expr) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::codec::DecodeError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bytes = <[u8; $size] as bitcoin::hex::FromHex>::from_hex(text).ok();
                bytes.and_then($make).ok_or($crate::codec::DecodeError::Invalid($what))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.to_bytes().encode(out);
            }

            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                $make(reader.array()?).ok_or($crate::codec::DecodeError::Invalid($what))
            }
        }
    };
}

pub(crate) use byte_value;
