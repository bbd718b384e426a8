//! Words of others: what an expert or DingTalk said when it refused something.
//!
//! They may repeat the person's own text, so a log line must not hold them. The type has no `Display` and its
//! `Debug` prints `***`. Only `expose` gives the words away: for the journal, dead letters and the admin API.

use std::fmt;

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Said(String);

impl Said {
    /// The words themselves, for what only operators read.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Keeps the first `chars_max` characters.
    pub fn shorten(&mut self, chars_max: usize) {
        if let Some((end, _)) = self.0.char_indices().nth(chars_max) {
            self.0.truncate(end);
        }
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_not_printed_and_are_cut_between_characters() {
        let mut said = Said::from("你好 there");
        assert_eq!(format!("{said:?}"), "***");
        said.shorten(2);
        assert_eq!(said.expose(), "你好");
        said.shorten(5);
        assert_eq!(said.expose(), "你好");
    }
}
