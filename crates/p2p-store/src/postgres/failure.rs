//! What the database's errors are to our callers.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::error::StoreError;

const BACKEND: &str = "PostgreSQL";

/// Something that will not change by itself.
pub(super) fn refused(message: String) -> StoreError {
    StoreError::Backend {
        backend: BACKEND,
        message,
        retryable: false,
    }
}

/// The server is away, or takes too long.
pub(super) fn unavailable(message: String) -> StoreError {
    StoreError::Backend {
        backend: BACKEND,
        message,
        retryable: true,
    }
}

/// What the client library says.
pub(super) fn failed(error: tokio_postgres::Error) -> StoreError {
    let message = match (error.as_db_error(), error.source()) {
        (Some(db), _) => match db.detail() {
            Some(detail) => format!("{} ({detail}; SQLSTATE {})", db.message(), db.code().code()),
            None => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        },
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    match error.code() {
        Some(code) if !is_transient(code) => refused(message),
        _ => unavailable(message),
    }
}

/// Two writers were in each other's way: the one that is told to may try again at once.
pub(super) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let conflicts = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    error.code().is_some_and(|code| conflicts.contains(code))
}

/// Classes of errors that pass: the connection, conflicts, room, an operator who stops the server,
/// its own troubles. A server that is read-only may be a standby on its way to be the first.
fn is_transient(code: &SqlState) -> bool {
    let classes = ["08", "40", "53", "55", "57", "58"];
    classes.iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::UNIQUE_VIOLATION
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}
