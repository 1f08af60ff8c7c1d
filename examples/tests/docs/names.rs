//! Tests, constants, options and files that pages name are in the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::page::{Page, code, root};

#[test]
fn every_test_that_a_decision_names_exists() {
    let page = Page::at("docs/decisions.md");
    let rows = page.rows();
    let in_tables = rows
        .iter()
        .filter_map(|row| row.last())
        .flat_map(|cell| code(cell));
    // A name may stand in the next line.
    let announced = page
        .text
        .split("Test:")
        .skip(1)
        .filter_map(|rest| code(rest).next());
    // And those of further ones: no other name on the page is as long as a test's.
    let in_text = code(&page.text).filter(|name| is_long(name));
    let named: BTreeSet<_> = in_tables.chain(announced).chain(in_text).collect();
    assert!(named.len() > 40, "{named:?}");
    let source = source();
    for name in named {
        assert!(
            source.contains(&format!("fn {name}(")),
            "there is no test {name}"
        );
    }
}

/// Whether a name is of as many words as those of tests are.
fn is_long(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.split('_').count() >= 5 && name.split('_').all(is_word)
}

#[test]
fn every_limit_that_the_page_on_security_names_exists() {
    let page = Page::at("docs/security.md");
    let source = source();
    let rows = page.rows();
    let limits = rows.iter().filter(|row| row.len() == 4);
    let named: Vec<_> = limits.flat_map(|row| code(row[2])).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        let field = name.rsplit('.').next().unwrap_or(name);
        let is_there =
            source.contains(&format!("const {name}:")) || source.contains(&format!("pub {field}:"));
        assert!(is_there, "there is no constant and no option {name}");
    }
}

#[test]
fn the_page_on_security_tells_the_values_in_force() {
    let page = Page::at("docs/security.md");
    let source = source();
    let mut compared = 0;
    for row in page.rows().iter().filter(|row| row.len() == 4) {
        let told = quantities(row[1]);
        for name in code(row[2]) {
            let values = values_of(name, &source);
            if told.is_empty() || values.is_empty() {
                // None of the two, or one that follows from another.
                continue;
            }
            compared += 1;
            assert!(
                values.iter().any(|value| told.contains(value)),
                "{name} is {values:?}, told is {:?}",
                row[1]
            );
        }
    }
    assert!(compared > 25, "only {compared} limits were compared");
}

/// The numbers in a cell, in bytes, seconds, or as they are.
fn quantities(cell: &str) -> Vec<u64> {
    let words: Vec<_> = cell.split_whitespace().collect();
    let number = |word: &str| word.trim_end_matches(',').replace(',', "").parse::<u64>();
    let quantity = |(at, word): (usize, &&str)| {
        let unit = words
            .get(at + 1)
            .map_or("", |unit| unit.trim_end_matches(','));
        let unit = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "min" => 60,
            "h" => 3600,
            _ => 1,
        };
        Some(number(word).ok()? * unit)
    };
    words.iter().enumerate().filter_map(quantity).collect()
}

/// What constants of this name are, as far as they are numbers written down.
fn values_of(name: &str, source: &str) -> Vec<u64> {
    let (constant, field) = (format!("const {name}: "), format!(" {name}: "));
    let declared = source.split(&constant).skip(1);
    let expressions = declared.filter_map(|rest| rest.split_once(';')?.0.split_once(" = "));
    let constants = expressions.filter_map(|(_, expression)| value(expression));
    let fields = source.split(&field).skip(1);
    let defaults = fields.filter_map(|rest| value(rest.split_once(',')?.0));
    constants.chain(defaults).collect()
}

fn value(expression: &str) -> Option<u64> {
    let of_duration = expression.strip_prefix("Duration::from_secs(");
    let expression = of_duration.map_or(expression, |rest| rest.trim_end_matches(')'));
    if let Some((base, bits)) = expression.split_once(" << ") {
        return value(base)?.checked_shl(value(bits)? as u32);
    }
    let factors = expression
        .split(" * ")
        .map(|factor| factor.replace('_', "").parse::<u64>().ok());
    factors.product()
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut missing = Vec::new();
    for page in Page::all() {
        let lines: Vec<_> = page.prose().collect();
        for name in code(&lines.join("\n")).filter(|name| is_path(name)) {
            if !root().join(name).exists() {
                missing.push(format!("{}: {name}", page.path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Whether text is meant as a path from the top of the tree.
fn is_path(text: &str) -> bool {
    const FOLDERS: [&str; 6] = [
        "crates/",
        "docs/",
        "examples/",
        "tests/",
        "scripts/",
        "fuzz/",
    ];
    FOLDERS.iter().any(|folder| text.starts_with(folder))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

/// All Rust of the workspace.
fn source() -> String {
    let mut text = String::new();
    for folder in ["crates", "tests", "examples"] {
        read_all(&root().join(folder), &mut text);
    }
    text
}

fn read_all(folder: &Path, text: &mut String) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if !path.ends_with("target") {
                read_all(&path, text);
            }
        } else if path.extension().is_some_and(|it| it == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
