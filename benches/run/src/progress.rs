//! What is being done, and for how long already.

use std::path::Path;
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Progress(Instant);

impl Progress {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Says what comes next.
    pub(crate) fn next(&self, what: &str) {
        eprintln!("{:>5} s  {what}", self.0.elapsed().as_secs());
    }

    pub(crate) fn end(&self, page: &Path) {
        let seconds = self.0.elapsed().as_secs();
        eprintln!("{seconds:>5} s  done: {}", page.display());
    }
}
