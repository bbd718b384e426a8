//! The codes that DingTalk is known to answer with, each with its class: the one table of them.
//!
//! The old API and the webhooks answer with numbers, the new API with words. A code that is not here is
//! unknown, and [`super::verdict`] decides by the HTTP status.

use std::time::Duration;

/// What a refusal means for the message. Everything but [`Class::Retry`] and [`Class::Unknown`] says that
/// DingTalk did not deliver it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Too many calls: the same again is taken after this long.
    Rate { after: Duration, scope: Scope },
    /// This route does not take it. Another route may.
    Next(Cause),
    /// The organisation's calls of this month are used up.
    Quota,
    /// The access token is not valid (any more).
    Token,
    /// A failure at DingTalk itself. If it is ambiguous, the message may have been delivered.
    Retry { is_ambiguous: bool },
    /// An answer that this release does not know.
    Unknown { is_ambiguous: bool },
    /// The message has to be shorter.
    TooLong,
    /// DingTalk does not carry this text.
    Content,
    /// The card's template does not exist, is not published, or has other variables.
    Template,
    /// The same again would be refused again.
    Permanent(Cause),
}

/// What a rate is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Card,
    App,
    /// The session webhook alone: the API may still take the message.
    Webhook,
    /// The address of this machine.
    Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The session webhook is over.
    Session,
    /// DingTalk knows no such receiver or robot on this route.
    Address,
    Permission,
    Ip,
    /// The robot is switched off.
    Stopped,
    /// The robot code belongs to another app or organisation.
    Robot,
    /// The card is not there.
    Card,
    Other,
}

impl Class {
    /// What an operator can do about it; `None` if it is nothing of the integration's.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Quota => {
                Some("the organisation's monthly calls are used up: raise its quota in DingTalk")
            }
            Self::Template => {
                Some("the card template cannot be used: publish it, and check cardTemplateId")
            }
            Self::Next(cause) | Self::Permanent(cause) => match cause {
                Cause::Permission => Some("the app lacks a permission: grant it in DingTalk"),
                Cause::Ip => Some("add the address of this service to the app's IP list"),
                Cause::Stopped => Some("the robot is switched off: start it in DingTalk"),
                Cause::Robot => Some("the robot code is not this app's: check robotCode"),
                Cause::Session | Cause::Address | Cause::Card | Cause::Other => None,
            },
            Self::Rate { .. }
            | Self::Token
            | Self::Retry { .. }
            | Self::Unknown { .. }
            | Self::TooLong
            | Self::Content => None,
        }
    }
}

/// The window of DingTalk's limits by the second.
pub(super) const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// A webhook that was used too fast is tried again after this long, then by the retry schedule, which
/// outlasts the ten minutes that DingTalk may keep it shut.
const WEBHOOK_SHUT: Duration = Duration::from_secs(10);
/// An address that called too often is refused for this long.
const ADDRESS_SHUT: Duration = Duration::from_mins(5);

pub(super) const BAN: Class = Class::Rate { after: ADDRESS_SHUT, scope: Scope::Address };
pub(super) const FAST: Class = Class::Rate { after: SECOND, scope: Scope::App };
const BY_MINUTE: Class = Class::Rate { after: MINUTE, scope: Scope::App };
/// Two updates of one card within half a second.
pub(super) const FAST_CARD: Class = Class::Rate { after: SECOND, scope: Scope::Card };
/// DingTalk's own failure, perhaps behind the delivery.
pub(super) const FAULT: Class = Class::Retry { is_ambiguous: true };
/// DingTalk was busy and did not begin.
pub(super) const BUSY: Class = Class::Retry { is_ambiguous: false };

/// `errcode` of webhooks and of the old API. 0 is success, 88 is [`authentication`].
pub(super) fn by_number(code: i64) -> Option<Class> {
    Some(match code {
        -1 => BUSY,
        15 | 500_100 => FAULT,
        300_001 => Class::Next(Cause::Session),
        410_100 => Class::Rate { after: WEBHOOK_SHUT, scope: Scope::Webhook },
        43_004 | 400_101 | 400_106 => Class::Next(Cause::Address),
        60_011 | 310_000 => Class::Next(Cause::Permission),
        60_020 => Class::Next(Cause::Ip),
        40_014 | 41_001 | 42_001 => Class::Token,
        90_002 | 90_018 => FAST,
        90_020 => Class::Quota,
        101_002 | 200_092 | 460_101 => Class::TooLong,
        430_101..=430_104 => Class::Content,
        400_102 => Class::Permanent(Cause::Stopped),
        40_004 | 40_035 | 41_005 | 43_008 | 400_013 | 400_105 => Class::Permanent(Cause::Other),
        _ => return None,
    })
}

/// `errcode` 88: authentication timed out, unless `sub_code` says what was wrong with it.
pub(super) fn authentication(sub_code: Option<i64>) -> Class {
    match sub_code {
        None | Some(0) => BUSY,
        Some(code) => by_number(code).unwrap_or(Class::Unknown { is_ambiguous: false }),
    }
}

enum Is {
    Word(&'static str),
    Within(&'static str),
    Below(&'static str),
}

/// `code` of the new API, in lower case. The first match counts.
const WORDS: &[(Is, Class)] = &[
    (Is::Within("qpslimit"), FAST),
    (Is::Word("send.too.fast"), FAST),
    (Is::Word("send.bytoken.toofast"), FAST),
    (Is::Within("qpmlimit"), BY_MINUTE),
    (Is::Word("toomuch.msg"), BY_MINUTE),
    (Is::Word("too.many.group"), BY_MINUTE),
    (Is::Word("too.many.people"), BY_MINUTE),
    (Is::Within("apicountlimit"), Class::Quota),
    (Is::Within("ipnotinwhitelist"), Class::Next(Cause::Ip)),
    (Is::Word("ip.not.match"), Class::Next(Cause::Ip)),
    (Is::Within("accesstokenpermissiondenied"), Class::Next(Cause::Permission)),
    (Is::Within("orgauthlevelnotenough"), Class::Next(Cause::Permission)),
    (Is::Word("unauthorized"), Class::Next(Cause::Permission)),
    (Is::Word("auth.error"), Class::Next(Cause::Permission)),
    (Is::Within("invalidauthentication"), Class::Token),
    (Is::Word("session.notexisted"), Class::Next(Cause::Session)),
    (Is::Word("session.expired"), Class::Next(Cause::Session)),
    (Is::Word("staffid.notexisted"), Class::Next(Cause::Address)),
    (Is::Word("robot.oto.notexist"), Class::Next(Cause::Address)),
    (Is::Word("chatbotid.notallow.sendoto"), Class::Next(Cause::Address)),
    (Is::Word("invalid.openconversationid"), Class::Next(Cause::Address)),
    (Is::Word("miss.openconversationid"), Class::Next(Cause::Address)),
    (Is::Word("token.notexisted"), Class::Next(Cause::Address)),
    (Is::Word("servicebusy"), BUSY),
    (Is::Word("system.busy"), BUSY),
    // A reaction on a message that DingTalk has not stored yet.
    (Is::Word("system.err"), BUSY),
    (Is::Word("system.error"), FAULT),
    (Is::Word("systemerror"), FAULT),
    (Is::Word("service.error"), FAULT),
    (Is::Word("server.error"), FAULT),
    (Is::Word("service.timeout"), FAULT),
    (Is::Word("unknownerror"), FAULT),
    (Is::Word("unknown.send.result"), FAULT),
    (Is::Word("send.ding.exception"), FAULT),
    (Is::Within("msgparam.toolong"), Class::TooLong),
    (Is::Word("param.stream.content"), Class::TooLong),
    (Is::Word("contain.unsafe.url"), Class::Content),
    (Is::Below("contain.notallowed."), Class::Content),
    (Is::Word("param.contentunsafe"), Class::Content),
    (Is::Word("param.templatenotexist"), Class::Template),
    (Is::Word("param.templateunpublished"), Class::Template),
    (Is::Word("param.stream.outtrackid"), Class::Permanent(Cause::Card)),
    (Is::Word("param.cardnotexist"), Class::Permanent(Cause::Card)),
    (Is::Word("bot.stopped"), Class::Permanent(Cause::Stopped)),
    (Is::Word("bot.forbidden.sendmessage"), Class::Permanent(Cause::Stopped)),
    (Is::Word("send.forbidden"), Class::Permanent(Cause::Stopped)),
    (Is::Word("conversation.org.notmatch"), Class::Permanent(Cause::Robot)),
    (Is::Below("invalidparameter.robotcode."), Class::Permanent(Cause::Robot)),
    (Is::Below("robotcode."), Class::Permanent(Cause::Robot)),
    (Is::Word("group.disbanded"), Class::Permanent(Cause::Other)),
    (Is::Below("invalidparameter."), Class::Permanent(Cause::Other)),
    (Is::Below("invalid."), Class::Permanent(Cause::Other)),
    (Is::Below("miss."), Class::Permanent(Cause::Other)),
    (Is::Below("param."), Class::Permanent(Cause::Other)),
    (Is::Below("illegal."), Class::Permanent(Cause::Other)),
    (Is::Below("template."), Class::Permanent(Cause::Other)),
    (Is::Word("receivers.exceed"), Class::Permanent(Cause::Other)),
    (Is::Word("only.groupadmin.canatall"), Class::Permanent(Cause::Other)),
    (Is::Word("sendmessage.model.notmatch"), Class::Permanent(Cause::Other)),
    (Is::Word("resource.not.found"), Class::Permanent(Cause::Other)),
];

pub(super) fn by_word(code: &str) -> Option<Class> {
    let code = code.to_ascii_lowercase();
    let is = |pattern: &Is| match pattern {
        Is::Word(word) => code == *word,
        Is::Within(part) => code.contains(part),
        Is::Below(prefix) => code.starts_with(prefix),
    };
    WORDS.iter().find(|(pattern, _)| is(pattern)).map(|(_, class)| *class)
}

/// What some webhooks say in words alone, with a code that varies or without one.
pub(super) fn by_phrase(said: &str) -> Option<Class> {
    const PHRASES: &[(&str, Class)] = &[
        ("机器人权限校验不通过", Class::Next(Cause::Permission)),
        ("body 大小不合法", Class::TooLong),
        ("系统异常", FAULT),
        ("系统错误", FAULT),
    ];
    PHRASES.iter().find(|(phrase, _)| said.contains(phrase)).map(|(_, class)| *class)
}
