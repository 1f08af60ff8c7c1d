//! How much is remembered, and what is not.

use thiserror::Error;

/// How many peers a [`Book`](super::Book) holds.
///
/// ```
/// use p2p_core::book::BookLimits;
///
/// let limits = BookLimits { total: 10_000, ..BookLimits::default() };
/// assert_eq!(limits.per_netgroup, 1024);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookLimits {
    /// All peers. Default 1,000,000: a hundred times what the network ever had, in half a
    /// gigabyte.
    pub total: u32,
    /// Peers of one netgroup that others told us about; the user's own are not counted. Default
    /// 1024: nobody honest has more nodes in one /16, and who owns one gets a thousandth of the
    /// book.
    pub per_netgroup: u32,
    /// Peers that one netgroup told us about. Default 4096: what the node's address manager has
    /// room for from one source, 64 buckets of 64; four full `addr` answers.
    pub per_source: u32,
}

impl Default for BookLimits {
    fn default() -> Self {
        Self {
            total: 1_000_000,
            per_netgroup: 1024,
            per_source: 4096,
        }
    }
}

/// Why a peer was not taken into the book.
///
/// ```
/// use p2p_core::book::Refused;
///
/// assert_eq!(Refused::Full.to_string(), "the book is full of better peers");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its address is there.
    #[error("the address is known")]
    Known,
    /// [`BookLimits::total`] is reached, and nothing worse is there.
    #[error("the book is full of better peers")]
    Full,
    /// [`BookLimits::per_netgroup`] is reached, and nothing worse is there.
    #[error("the address's netgroup is full of better peers")]
    NetGroupFull,
    /// [`BookLimits::per_source`] is reached, and nothing worse is there.
    #[error("the source has told of as many peers, better ones")]
    SourceFull,
}
