//! Serde's form of the types that people write as text: what `Display` writes and `FromStr` reads.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::hash::Hash256;
use crate::network::Network;

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(Hash256, Network);

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[test]
    fn what_is_written_is_the_text_and_reads_back() {
        let hash = Hash256::of(b"a transaction");
        let text = format!("\"{hash}\"");
        assert_eq!(to_string(&hash).unwrap(), text);
        assert_eq!(from_str::<Hash256>(&text).unwrap(), hash);
        let network = Network::custom([0x0d, 1, 9, 12], 18333);
        assert_eq!(to_string(&network).unwrap(), r#""custom:0d01090c:18333""#);
        assert_eq!(
            from_str::<Network>(r#""custom:0d01090c:18333""#).unwrap(),
            network
        );
    }

    #[test]
    fn what_is_no_such_text_says_why() {
        let error = from_str::<Hash256>("\"00\"").unwrap_err();
        assert!(error.to_string().contains("64 hex digits"), "{error}");
        let error = from_str::<Network>("\"mainet\"").unwrap_err();
        assert!(error.to_string().contains("is no network"), "{error}");
        assert!(from_str::<Network>("1").is_err());
    }
}
