//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

/// Why a store did not do what it was asked to.
///
/// ```
/// use p2p_store::StoreError;
/// use uuid::Uuid;
///
/// let error = StoreError::PeerNotFound { id: Uuid::nil() };
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no record of this id.
    #[error("no peer {id} in the store")]
    PeerNotFound {
        /// The id that was asked for.
        id: Uuid,
    },
    /// There is a record of this id, or of this IP and port, already.
    #[error("the peer is in the store already, as {existing}")]
    DuplicatePeer {
        /// The id of the record that is there.
        existing: Uuid,
    },
    /// The system refused something.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// Another store has this file open.
    #[error("{}: another store, of this process or of another, has it open: give each its own file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is stored cannot be read.
    #[error("{place}: {what}")]
    Corrupt {
        /// Where: a file, or a record.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The database refused, or cannot be reached.
    #[error("{backend}: {message}")]
    Backend {
        /// Which kind of store.
        backend: &'static str,
        /// What it says.
        message: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// The store's own thread or task has ended, which it does with the store.
    #[error("the store has ended")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later, without another word from the caller: the disk
    /// is full, the server away.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ),
            Self::InUse { .. } => true,
            Self::Backend { retryable, .. } => *retryable,
            Self::PeerNotFound { .. }
            | Self::DuplicatePeer { .. }
            | Self::Corrupt { .. }
            | Self::Closed => false,
        }
    }

    /// Whether it is a reason to ban a peer: never, for no peer has a part in it.
    pub fn is_ban_worthy(&self) -> bool {
        false
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source: Arc::new(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_another_try() {
        let io = |kind: io::ErrorKind| StoreError::io("write", Path::new("/x/peers"), kind.into());
        assert!(io(io::ErrorKind::StorageFull).is_retryable());
        assert!(!io(io::ErrorKind::PermissionDenied).is_retryable());
        let backend = |retryable| StoreError::Backend {
            backend: "PostgreSQL",
            message: "x".into(),
            retryable,
        };
        assert!(backend(true).is_retryable());
        assert!(!backend(false).is_retryable());
        let existing = Uuid::nil();
        assert!(!StoreError::DuplicatePeer { existing }.is_retryable());
        assert!(!StoreError::DuplicatePeer { existing }.is_ban_worthy());
    }

    #[test]
    fn an_error_names_the_file_and_what_was_tried() {
        let error = StoreError::io(
            "write",
            Path::new("/x/peers"),
            io::Error::other("disk on fire"),
        );
        assert_eq!(error.to_string(), "/x/peers: cannot write: disk on fire");
    }
}
