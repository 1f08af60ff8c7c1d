//! What the pages say, held against the tree: links lead somewhere, every option is explained with
//! its default, and every test, constant and file that a page names is there.

#![allow(clippy::unwrap_used, reason = "a test stops when it cannot go on")]

mod links;
mod names;
mod options;
mod page;
