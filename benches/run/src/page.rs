//! The page that is written: what stands between two markers is replaced, the rest is people's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

#[derive(Debug)]
pub(crate) struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        Ok(Self {
            text: text.map_err(|error| format!("{}: {error}", path.display()))?,
            path: path.to_owned(),
        })
    }

    /// Puts text between the markers of this name.
    pub(crate) fn replace(&mut self, name: &str, text: &str) -> Result<()> {
        let (begin, end) = (
            format!("<!-- begin {name} -->\n"),
            format!("<!-- end {name} -->"),
        );
        let parts = self.text.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some((before, after))
        });
        let Some((before, after)) = parts else {
            return Err(format!(
                "{} has no lines {:?} and {end:?}: put them where the table shall be",
                self.path.display(),
                begin.trim()
            )
            .into());
        };
        self.text = format!("{before}{begin}\n{}\n\n{end}{after}", text.trim());
        Ok(())
    }

    /// Writes a file beside the page.
    pub(crate) fn write_beside(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.path.with_file_name(name), text)?)
    }

    pub(crate) fn write(&self) -> Result<()> {
        Ok(fs::write(&self.path, &self.text)?)
    }
}

/// A Markdown table; the first column is text, the others are numbers.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(&head.map(str::to_owned));
    out.push_str("|---|");
    out.push_str(&"---:|".repeat(N - 1));
    out.push('\n');
    for row in rows {
        out.push_str(&line(row));
    }
    out
}

/// A number as people read it: three digits that count, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    if digits > 0 {
        return format!("{value:.digits$}");
    }
    // Rates of hundreds of thousands sway by more than their last three digits.
    let value = value.round() as i64;
    let text = value.abs().to_string();
    let mut out = String::from(if value < 0 { "-" } else { "" });
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let mut page = Page {
            path: "page".into(),
            text: text.into(),
        };
        page.replace("x", "new").unwrap();
        page.replace("x", "newer").unwrap();
        assert_eq!(
            page.text,
            "a\n<!-- begin x -->\n\nnewer\n\n<!-- end x -->\nb\n"
        );
        assert!(page.replace("y", "new").is_err());
    }

    #[test]
    fn numbers_are_for_people() {
        let numbers = [0.123, 9.99, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(
            numbers,
            ["0.12", "9.99", "12.3", "123", "1,235", "1,234,567"]
        );
    }
}
