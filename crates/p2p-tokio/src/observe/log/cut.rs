//! Text that comes from elsewhere, cut to a length and kept on its line.

use std::fmt::{self, Display, Write};

/// Characters that are shown: as many as the longest user agent has bytes.
const MAX: usize = 256;

/// The text, without control characters and no longer than 256 characters. As a string, which
/// subscribers put into quotes, so that it cannot look like a field either.
pub(super) fn cut(text: impl Display) -> String {
    let mut shortened = Shortened {
        text: String::new(),
        left: MAX,
    };
    // What is too long ends with an error, and is shown up to there.
    if write!(shortened, "{text}").is_err() {
        shortened.text.push_str("...");
    }
    shortened.text
}

struct Shortened {
    text: String,
    left: usize,
}

impl Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            self.left = match self.left.checked_sub(1) {
                Some(left) => left,
                None => return Err(fmt::Error),
            };
            // Line breaks, escapes, and what changes the direction of text.
            match char.is_control() || !char.is_ascii() {
                true => self.text.extend(char.escape_unicode()),
                false => self.text.push(char),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_and_short_text_is_not() {
        let text = |n| "a".repeat(n);
        assert_eq!(cut(text(256)), text(256));
        assert_eq!(cut(text(257)), text(256) + "...");
        assert_eq!(cut(""), "");
    }

    #[test]
    fn nothing_leaves_its_line_or_steers_a_terminal() {
        let shown = cut("a\r\nERROR forged\u{1b}[2J\u{202e}");
        assert_eq!(shown, r"a\u{d}\u{a}ERROR forged\u{1b}[2J\u{202e}");
    }
}
