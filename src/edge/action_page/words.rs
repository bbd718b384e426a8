//! What the action page says, in the integration's language or, where none is known, in both.
//!
//! Nothing of a request goes into the page: every word of it stands here.

use crate::domain::binding::Language;
use crate::protocol::action::Kind;

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
        let said: Vec<&str> = languages.iter().map(|language| self.text(*language)).collect();
        let paragraphs: String = said.iter().map(|text| format!("<p>{text}</p>")).collect();
        let form = match self {
            Self::Ask(kind) => {
                let label: Vec<&str> = languages.iter().map(|l| button(kind, *l)).collect();
                format!(
                    "<form id=\"act\" method=\"post\"><button>{}</button></form>\
                     <script>document.getElementById('act').submit()</script>",
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

    fn text(self, language: Language) -> &'static str {
        match (language, self) {
            (Language::ZhHans, Self::Ask(Kind::End)) => "是否结束当前会话？",
            (Language::ZhHans, Self::Ask(Kind::Confirm)) => "是否确认？",
            (Language::ZhHans, Self::Ask(Kind::Reject)) => "是否拒绝？",
            (Language::ZhHans, Self::Done(Kind::End)) => "会话已结束。",
            (Language::ZhHans, Self::Done(Kind::Confirm)) => "已确认，请回到钉钉查看回复。",
            (Language::ZhHans, Self::Done(Kind::Reject)) => "已拒绝，请回到钉钉查看回复。",
            (Language::ZhHans, Self::Wrong) => "此链接无效。",
            (Language::ZhHans, Self::Over) => "此链接已过期或已使用。",
            (Language::ZhHans, Self::NotNow) => "暂时无法处理，请稍后重试。",
            (Language::En, Self::Ask(Kind::End)) => "End this session?",
            (Language::En, Self::Ask(Kind::Confirm)) => "Confirm?",
            (Language::En, Self::Ask(Kind::Reject)) => "Reject?",
            (Language::En, Self::Done(Kind::End)) => "The session has ended.",
            (Language::En, Self::Done(Kind::Confirm)) => "Confirmed. The answer comes in DingTalk.",
            (Language::En, Self::Done(Kind::Reject)) => "Rejected. The answer comes in DingTalk.",
            (Language::En, Self::Wrong) => "This link is not valid.",
            (Language::En, Self::Over) => "This link has expired or was used.",
            (Language::En, Self::NotNow) => "This cannot be done right now. Please try again.",
        }
    }
}

fn button(kind: Kind, language: Language) -> &'static str {
    match (language, kind) {
        (Language::ZhHans, Kind::End) => "结束会话",
        (Language::ZhHans, Kind::Confirm) => "确认",
        (Language::ZhHans, Kind::Reject) => "拒绝",
        (Language::En, Kind::End) => "End the session",
        (Language::En, Kind::Confirm) => "Confirm",
        (Language::En, Kind::Reject) => "Reject",
    }
}

#[cfg(test)]
mod tests {
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
