//! Pages of Markdown, as far as these tests read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page of the repository.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR"));
    examples.parent().unwrap().to_path_buf()
}

impl Page {
    /// The page at this path, from the top.
    pub(crate) fn at(path: &str) -> Self {
        let path = root().join(path);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// All pages: at the top, in `docs`, and beside each crate.
    pub(crate) fn all() -> Vec<Self> {
        let mut folders = vec![root(), root().join("docs")];
        let crates = fs::read_dir(root().join("crates")).unwrap();
        folders.extend(crates.map(|entry| entry.unwrap().path()));
        let files = folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut paths: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let pages = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "md"));
        let at = |path: &PathBuf| Self {
            path: path.clone(),
            text: fs::read_to_string(path).unwrap(),
        };
        pages.map(at).collect()
    }

    /// Its lines but for those of code.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            is_code ^= fence;
            !fence && !is_code && !line.starts_with("    ")
        })
    }

    /// The cells of every row of its tables, heads and rules left out.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        let lines: Vec<_> = self.prose().collect();
        let is_rule = |line: &str| line.starts_with("|-") || line.starts_with("|:");
        let rows = lines.iter().enumerate().filter(|(at, line)| {
            let head = lines.get(at + 1).is_some_and(|next| is_rule(next));
            line.starts_with('|') && !is_rule(line) && !head
        });
        let cells = rows.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim));
        cells.map(Iterator::collect).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter_map(|line| {
            let text = line.trim_start_matches('#');
            (text.len() < line.len())
                .then(|| text.strip_prefix(' '))
                .flatten()
        });
        headings.map(anchor).collect()
    }
}

/// What stands between backticks in a piece of text.
pub(crate) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
