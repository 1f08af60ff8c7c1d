//! Durations in configuration files: text for people, or a number of seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// How a duration that never ends is written.
const FOREVER: &str = "forever";

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// The same where `None` means for ever. A file that leaves the field out means its default, so
/// `None` has a word of its own.
pub(super) mod or_forever {
    use super::{
        Deserializer, Duration, DurationVisitor, FOREVER, Serialize, Serializer, Visitor, de, fmt,
        serialize as finite,
    };

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => finite(duration, serializer),
            None => FOREVER.serialize(serializer),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_any(OrForever)
    }

    struct OrForever;

    impl Visitor<'_> for OrForever {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{FOREVER:?}, or ")?;
            DurationVisitor.expecting(f)
        }

        fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Self::Value, E> {
            DurationVisitor.visit_u64(secs).map(Some)
        }

        fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Self::Value, E> {
            DurationVisitor.visit_i64(secs).map(Some)
        }

        fn visit_f64<E: de::Error>(self, secs: f64) -> Result<Self::Value, E> {
            DurationVisitor.visit_f64(secs).map(Some)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == FOREVER {
                return Ok(None);
            }
            DurationVisitor.visit_str(text).map(Some)
        }

        // `null`, in formats that have it.
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"5s\", \"2m\" or \"1h30m\", or a number of seconds")
    }

    fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(secs))
    }

    fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Duration, E> {
        u64::try_from(secs)
            .map(Duration::from_secs)
            .map_err(|_| E::invalid_value(Unexpected::Signed(secs), &self))
    }

    fn visit_f64<E: de::Error>(self, secs: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(secs)
            .map_err(|_| E::invalid_value(Unexpected::Float(secs), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        humantime::parse_duration(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        pause: Duration,
        #[serde(with = "super::or_forever")]
        ban: Option<Duration>,
    }

    fn parse(pause: &str, ban: &str) -> Result<Times, toml::de::Error> {
        toml::from_str(&format!("pause = {pause}\nban = {ban}"))
    }

    #[test]
    fn durations_are_text_or_seconds() {
        for (text, millis) in [
            ("'5s'", 5_000),
            ("'2m'", 120_000),
            ("'1h30m'", 5_400_000),
            ("'1h 30m'", 5_400_000),
            ("'250ms'", 250),
            ("'1day'", 86_400_000),
            ("'0s'", 0),
            ("7", 7_000),
            ("0.25", 250),
        ] {
            let pause = Duration::from_millis(millis);
            let ban = Some(pause);
            assert_eq!(parse(text, text).unwrap(), Times { pause, ban }, "{text}");
        }
    }

    #[test]
    fn for_ever_is_a_word() {
        assert_eq!(parse("1", "'forever'").unwrap().ban, None);
        let null = serde_json::from_str::<Times>(r#"{"pause": 1, "ban": null}"#);
        assert_eq!(null.unwrap().ban, None);
        assert!(parse("'forever'", "1").is_err(), "a pause must end");
    }

    #[test]
    fn what_is_no_duration_is_quoted() {
        for (text, quoted) in [
            ("'soon'", "soon"),
            ("'5'", "5"),
            ("''", "\"\""),
            ("'-5s'", "-5s"),
            ("-5", "-5"),
            ("-0.5", "-0.5"),
            ("nan", "NaN"),
            ("inf", "inf"),
            ("1e20", "100000000000000000000"),
            ("true", "true"),
        ] {
            for (pause, ban) in [(text, "1"), ("1", text)] {
                let error = parse(pause, ban).unwrap_err().message().to_owned();
                assert!(error.contains(quoted), "{text}: {error}");
                assert!(error.contains("1h30m"), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for pause in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::new(5_400, 250_000_001),
            Duration::from_secs(86_400 * 365 * 100),
        ] {
            for ban in [None, Some(pause)] {
                let times = Times { pause, ban };
                let text = toml::to_string(&times).unwrap();
                assert_eq!(toml::from_str::<Times>(&text).unwrap(), times, "{text}");
            }
        }
    }
}
