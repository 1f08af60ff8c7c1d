//! How much is logged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The least important of the events that are logged. Text and serde form as in `tracing`, upper
/// and lower case alike.
///
/// ```
/// use p2p_core::LogLevel;
///
/// assert_eq!("debug".parse(), Ok(LogLevel::Debug));
/// assert_eq!(LogLevel::default().to_string(), "INFO");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(into = "&'static str", try_from = "String")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What needs somebody: the listener cannot bind, the store fails.
    Error,
    /// Failed connections, retries, failed DNS seeds.
    Warn,
    /// Connections that come and go, handshakes, changes of configuration.
    #[default]
    Info,
    /// Every change of state.
    Debug,
    /// Every message.
    Trace,
}

/// Text that names no log level.
///
/// ```
/// use p2p_core::LogLevel;
///
/// let error = "loud".parse::<LogLevel>().unwrap_err();
/// assert!(error.to_string().starts_with("\"loud\" is no log level"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no log level: use OFF, ERROR, WARN, INFO, DEBUG or TRACE")]
pub struct ParseLogLevelError {
    text: String,
}

impl LogLevel {
    const ALL: [Self; 6] = [
        Self::Off,
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LogLevel {
    type Err = ParseLogLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLogLevelError> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParseLogLevelError { text: text.into() })
    }
}

impl From<LogLevel> for &'static str {
    fn from(level: LogLevel) -> Self {
        level.as_str()
    }
}

impl TryFrom<String> for LogLevel {
    type Error = ParseLogLevelError;

    fn try_from(text: String) -> Result<Self, ParseLogLevelError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_in_any_case() {
        for level in LogLevel::ALL {
            let text = level.to_string();
            assert_eq!(text.parse(), Ok(level));
            assert_eq!(text.to_lowercase().parse(), Ok(level));
            let json = serde_json::to_string(&level).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<LogLevel>(&json).unwrap(), level);
        }
    }

    #[test]
    fn other_text_is_refused_and_quoted() {
        let error = serde_json::from_str::<LogLevel>("\"loud\"").unwrap_err();
        assert!(
            error.to_string().contains("\"loud\" is no log level"),
            "{error}"
        );
    }
}
