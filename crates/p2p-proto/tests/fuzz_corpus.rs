//! Every input that fuzzing has found worth keeping, run as an ordinary test.

#[path = "../../../fuzz/src/harness/mod.rs"]
pub mod harness;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

#[test]
#[allow(clippy::print_stdout, reason = "says how much was run")]
fn every_corpus_passes() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut failed = Vec::new();
    for (target, run) in harness::TARGETS {
        let inputs = inputs(&corpora.join(target));
        for path in &inputs {
            let input = fs::read(path).unwrap();
            if panic::catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                failed.push(path.clone());
            }
        }
        println!("{target}: {} inputs", inputs.len());
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_corpus_has_a_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let found: Vec<_> = inputs(&corpora)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let targets: Vec<_> = harness::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, targets);
}

/// What a folder holds, in order of name; there must be something.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let mut inputs: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{folder:?} is missing or empty");
    inputs
}
