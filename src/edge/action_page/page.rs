//! What the action page shows, in the integration's language or, where none is known, in both.
//!
//! Nothing of a request goes into the page: its words are those of the catalogues.

use crate::domain::binding::Language;
use crate::domain::words::Word;
use crate::protocol::action::Kind;

/// Submits the form.
const SCRIPT: &str = "document.getElementById('act').submit()";
/// Nothing runs but that one script, and the form leads back to this address alone.
pub(super) const POLICY: &str = "default-src 'none'; \
     script-src 'sha256-qbh4TnCqeN8pT/hI70wDEbKf9bHXFuafL+r4J/BoTXk='; style-src 'unsafe-inline'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// Submits itself where scripts run.
    Ask(Kind),
    Done(Kind),
    Wrong,
    Over,
    NotNow,
}

impl Page {
    pub(super) fn html(self, language: Option<Language>) -> String {
        let (tag, languages) = match language {
            Some(Language::ZhHans) => ("zh-Hans", &[Language::ZhHans][..]),
            Some(Language::En) => ("en", &[Language::En][..]),
            None => ("zh-Hans", &[Language::ZhHans, Language::En][..]),
        };
        let said: Vec<&str> = languages.iter().map(|l| self.word().text(*l)).collect();
        let paragraphs: String = said.iter().map(|text| format!("<p>{text}</p>")).collect();
        let form = match self {
            Self::Ask(kind) => {
                let label: Vec<&str> = languages.iter().map(|l| button(kind).text(*l)).collect();
                format!(
                    "<form id=\"act\" method=\"post\"><button>{}</button></form>\
                     <script>{SCRIPT}</script>",
                    label.join(" / ")
                )
            }
            Self::Done(_) | Self::Wrong | Self::Over | Self::NotNow => String::new(),
        };
        format!(
            "<!doctype html><html lang=\"{tag}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"robots\" content=\"noindex\"><title>{}</title></head>\
             <body style=\"font-family:sans-serif;text-align:center;margin:4em 1em\">\
             {paragraphs}{form}</body></html>",
            said.join(" / ")
        )
    }

    fn word(self) -> Word {
        match self {
            Self::Ask(Kind::End) => Word::PageAskEnd,
            Self::Ask(Kind::Confirm) => Word::PageAskConfirm,
            Self::Ask(Kind::Reject) => Word::PageAskReject,
            Self::Done(Kind::End) => Word::SessionEnded,
            Self::Done(Kind::Confirm) => Word::PageConfirmed,
            Self::Done(Kind::Reject) => Word::PageRejected,
            Self::Wrong => Word::PageWrong,
            Self::Over => Word::PageOver,
            Self::NotNow => Word::PageNotNow,
        }
    }
}

fn button(kind: Kind) -> Word {
    match kind {
        Kind::End => Word::End,
        Kind::Confirm => Word::Confirm,
        Kind::Reject => Word::Reject,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn only_the_question_submits_itself() {
        for kind in [Kind::End, Kind::Confirm, Kind::Reject] {
            assert!(Page::Ask(kind).html(None).contains(".submit()"));
            assert!(Page::Ask(kind).html(None).contains("method=\"post\""));
            assert!(!Page::Done(kind).html(None).contains("<script>"));
        }
        for page in [Page::Wrong, Page::Over, Page::NotNow] {
            assert!(!page.html(None).contains("<form"));
        }
    }

    #[test]
    fn the_policy_lets_the_one_script_run() {
        let digest = STANDARD.encode(Sha256::digest(SCRIPT));
        assert!(POLICY.contains(&format!("'sha256-{digest}'")), "{digest}");
        assert!(Page::Ask(Kind::End).html(None).contains(&format!("<script>{SCRIPT}</script>")));
    }

    #[test]
    fn a_page_speaks_the_integrations_language_or_both() {
        let (zh, en) = ("会话已结束。", "The session has ended.");
        let cases = [
            (Some(Language::ZhHans), true, false),
            (Some(Language::En), false, true),
            (None, true, true),
        ];
        for (language, has_zh, has_en) in cases {
            let html = Page::Done(Kind::End).html(language);
            assert_eq!((html.contains(zh), html.contains(en)), (has_zh, has_en), "{language:?}");
        }
    }
}
