//! Secrets in what others wrote, replaced before it is shown or kept.
//!
//! An error that a runtime or DingTalk reports may repeat a key, a token or an address that lets its reader
//! in. What is known by its name, its beginning or its place in an address is masked; the rest of the text
//! stays as it is, because it tells an operator what went wrong.

const MASK: &str = "***";

/// What a name that stands before a secret ends with, in lower case.
const NAMES: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "session",
    "signature",
    "cookie",
];

/// What stands before a secret in a header.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// How secrets begin that name themselves: keys of model providers, webhook secrets, JSON web tokens.
const BEGINNINGS: [&str; 3] = ["sk-", "whsec_", "eyj"];

/// A shorter word is none that somebody made up to be a secret.
const CHARS_MIN: usize = 8;

pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (gap, words) = split(rest, |c| !is_word(c));
        masked.push_str(gap);
        if words.is_empty() {
            return masked;
        }
        let (word, after) = split(words, is_word);
        rest = one(word, after, &mut masked);
    }
}

/// One address: neither who calls nor what the query says is shown.
pub fn address(text: &str) -> String {
    let (place, query) = split(text, |c| c != '?');
    let shown = mask(place);
    if query.is_empty() { shown } else { format!("{shown}?{MASK}") }
}

/// A word, and what belongs to it; gives what is left.
fn one<'a>(word: &str, after: &'a str, masked: &mut String) -> &'a str {
    let lower = word.to_ascii_lowercase();
    if BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning)) && word.len() >= CHARS_MIN {
        masked.push_str(MASK);
        // A token's parts are joined by full stops.
        return split(after, |c| is_word(c) || c == '.').1;
    }
    masked.push_str(word);
    if let Some(address) = after.strip_prefix("://") {
        return within(address, masked);
    }
    if is_scheme(word) {
        let (gap, value) = split(after, |c| c == ' ');
        if gap.is_empty() {
            return after;
        }
        let (value, rest) = split(value, |c| !is_end(c));
        if value.len() < CHARS_MIN {
            return after;
        }
        masked.push_str(gap);
        masked.push_str(MASK);
        return rest;
    }
    match assigned(after) {
        Some((sign, value)) if NAMES.iter().any(|name| lower.ends_with(name)) => {
            masked.push_str(sign);
            let quote = sign.chars().next_back().filter(|c| matches!(c, '"' | '\''));
            let (value, rest) = match quote {
                Some(quote) => split(value, |c| c != quote && c != '\\'),
                None => split(value, |c| !is_end(c)),
            };
            if is_scheme(value) {
                return one(value, rest, masked);
            }
            masked.push_str(if value.is_empty() { "" } else { MASK });
            rest
        }
        Some(_) | None => after,
    }
}

/// What stands behind `://` in a text; see [`address`].
fn within<'a>(text: &'a str, masked: &mut String) -> &'a str {
    masked.push_str("://");
    let is_part = |c: char| !c.is_whitespace() && !"\"'<>\\`(){}[]".contains(c);
    let (address, rest) = split(text, is_part);
    let (place, query) = split(address, |c| c != '?');
    let (host, path) = split(place, |c| c != '/');
    match host.rsplit_once('@') {
        Some((_, host)) => masked.extend([MASK, "@", host]),
        None => masked.push_str(host),
    }
    masked.push_str(path);
    if !query.is_empty() {
        masked.extend(["?", MASK]);
    }
    rest
}

/// A colon or an equals sign with its quotes, and what stands behind it.
fn assigned(text: &str) -> Option<(&str, &str)> {
    let is_around = |c| matches!(c, '"' | '\'' | '\\' | ' ');
    let value = text.trim_start_matches(is_around).strip_prefix([':', '='])?;
    let value = value.trim_start_matches(is_around);
    let (sign, value) = text.split_at_checked(text.len() - value.len())?;
    Some((sign, value))
}

fn is_scheme(word: &str) -> bool {
    SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || "\"'\\,;&<>(){}[]".contains(c)
}

/// Where `is_in` ends.
fn split(text: &str, is_in: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_in(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_told() {
        for (said, shown) in [
            ("", ""),
            ("the model is overloaded (529)", "the model is overloaded (529)"),
            (r#"{"code":"session.notExisted"}"#, r#"{"code":"session.notExisted"}"#),
            (r#"{"usage":{"total_tokens":12}}"#, r#"{"usage":{"total_tokens":12}}"#),
            (r#"{"accessToken":"abc","code":5}"#, r#"{"accessToken":"***","code":5}"#),
            (r#"{\"api_key\": \"a b\", \"n\": 1}"#, r#"{\"api_key\": \"***\", \"n\": 1}"#),
            ("x-api-key=1234&page=2", "x-api-key=***&page=2"),
            ("PASSWORD: hunter2, user: ann", "PASSWORD: ***, user: ann"),
            ("authorization: Bearer abc.def-ghi x", "authorization: Bearer *** x"),
            ("a bearer 0123456789, refused", "a bearer ***, refused"),
            ("a basic plan", "a basic plan"),
            ("Incorrect key sk-proj-12ab.", "Incorrect key ***"),
            ("no task-12345678", "no task-12345678"),
            ("jwt eyJhbGciOi.eyJzdWIi.x_-9 expired", "jwt *** expired"),
            (
                r#"{"to":"https://oapi.dingtalk.com/robot/sendBySession?session=1&x=2","n":1}"#,
                r#"{"to":"https://oapi.dingtalk.com/robot/sendBySession?***","n":1}"#,
            ),
            ("postgres://ann:pw@db:5432/x is down", "postgres://***@db:5432/x is down"),
            ("http://a/b", "http://a/b"),
            ("令牌token=长密码 错", "令牌token=*** 错"),
            ("token=", "token="),
            ("token", "token"),
        ] {
            assert_eq!(mask(said), shown, "{said}");
        }
    }

    #[test]
    fn an_address_is_shown_without_who_calls_and_its_query() {
        for (given, shown) in [
            ("https://h:8443/in/token", "https://h:8443/in/token"),
            ("https://h/api?code=a/b(c)&x=?", "https://h/api?***"),
            ("https://h/a(b)c?code=1", "https://h/a(b)c?***"),
            ("https://ann:pw@h/a?code=1", "https://***@h/a?***"),
            ("http://h?", "http://h?***"),
        ] {
            assert_eq!(address(given), shown, "{given}");
        }
    }

    proptest! {
        #[test]
        fn what_is_named_a_secret_is_never_shown(
            before in "\\PC{0,20}",
            value in "[a-zA-Z0-9.~+/-]{8,40}",
            after in "( \\PC{0,20})?",
        ) {
            for said in [
                format!("{before} accessToken={value}{after}"),
                format!("{before} \"token\":\"{value}\"{after}"),
                format!("{before} authorization: Bearer {value}{after}"),
                format!("{before} https://host/path?session={value}{after}"),
            ] {
                let shown = mask(&said);
                prop_assume!(!before.contains(&value) && !after.contains(&value));
                prop_assert!(!shown.contains(&value), "{said} is shown as {shown}");
            }
        }
    }
}
