//! What an operator configures: an integration, the trigger that binds it to an expert, and the
//! runtime where that expert is reached.
//!
//! Values only: that names are unique and that an expert answers for one robot at a time is held by the
//! store, and what a change means for a running session by `session` and `turn`.

use std::time::Duration;

use super::entry::Control;
use super::id::{ExpertId, IntegrationId};
use super::inbound::{Place, PlaceKind, Sender};
use super::secret::Secret;
use super::time::Timestamp;

/// A DingTalk robot and how it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    pub id: IntegrationId,
    pub name: String,
    pub mode: Mode,
    /// The app's `AppKey`.
    pub client_id: String,
    /// The app's `AppSecret`.
    pub client_secret: Secret,
    /// Absent: the robot code is the client id, as it is for an internal app.
    pub robot_code: Option<String>,
    pub callback_token: Option<Secret>,
    /// 43 characters of base64.
    pub callback_aes_key: Option<Secret>,
    pub card_template_id: Option<String>,
    pub language: Language,
    /// What an encrypted callback must name where that is not the client id (corpId, suiteKey).
    pub receiver_id: Option<String>,
    /// The organisation whose people the allow lists name; absent: any.
    pub corp_id: Option<String>,
    pub scope: Scope,
    pub is_paused: bool,
}

impl Integration {
    pub fn robot_code(&self) -> &str {
        self.robot_code.as_deref().filter(|code| is_robot_code(code)).unwrap_or(&self.client_id)
    }

    pub fn receiver_id(&self) -> &str {
        self.receiver_id.as_deref().unwrap_or(&self.client_id)
    }
}

/// DingTalk writes `normal` for a robot that has no code.
pub fn is_robot_code(code: &str) -> bool {
    !code.trim().eq_ignore_ascii_case("normal")
}

/// How DingTalk reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Http,
    Stream,
}

/// Who shares a conversation in a group: nobody, or the whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Sender,
    Group,
}

/// The language of the service's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    ZhHans,
    En,
}

/// Binds an integration to an expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub expert: ExpertId,
    pub integration: IntegrationId,
    pub is_enabled: bool,
    pub session_timeout: Duration,
    pub summary_window: Duration,
    /// What was published before that.
    pub former_window: Option<FormerWindow>,
    pub busy_policy: BusyPolicy,
    pub queued_notice: QueuedNotice,
    /// DingTalk conversation ids of groups; empty allows all.
    pub allow_conversations: Vec<String>,
    /// Staff ids; empty allows all.
    pub allow_senders: Vec<String>,
    /// The integration's, as routing joins it: staff ids repeat across organisations.
    pub corp_id: Option<String>,
    pub mention_asker: bool,
    pub act_by: ActBy,
}

/// A window that holds for what was said until another one was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerWindow {
    pub window: Duration,
    pub until: Timestamp,
}

impl Trigger {
    /// The window of a message that was stored at `at`.
    pub fn window_at(&self, at: Timestamp) -> Duration {
        let former = self.former_window.filter(|former| at < former.until);
        former.map_or(self.summary_window, |former| former.window)
    }

    /// The former window, where it holds for what was stored at `at` and is planned otherwise than `window`
    /// would: without a window nothing merges.
    pub fn former_at(&self, at: Timestamp, window: Duration) -> Option<FormerWindow> {
        let former = self.former_window.filter(|former| at < former.until)?;
        (former.window.is_zero() != window.is_zero()).then_some(former)
    }

    /// Whether the expert listens to this person in this place.
    pub fn allows(&self, place: &Place, sender: &Sender) -> bool {
        let is_listed =
            |list: &[String], id: &str| list.is_empty() || list.iter().any(|allowed| allowed == id);
        let is_place_fine = match place.kind {
            PlaceKind::Private => true,
            PlaceKind::Group => is_listed(&self.allow_conversations, &place.id),
        };
        let is_sender_fine = self.allow_senders.is_empty()
            || (is_listed(&self.allow_senders, sender.user_id()) && !self.is_foreign(sender));
        is_place_fine && is_sender_fine
    }

    /// Of an organisation that is known and is not the one whose people are listed.
    fn is_foreign(&self, sender: &Sender) -> bool {
        match (&self.corp_id, &sender.corp_id) {
            (Some(ours), Some(theirs)) => ours != theirs,
            (Some(_) | None, _) => false,
        }
    }

    /// Who is not listed ends nothing, least of all what others in a group asked. An operator's hand does.
    pub fn heeds(&self, control: &Control) -> bool {
        control.origin.as_ref().is_none_or(|origin| self.allows(&origin.place, &origin.sender))
    }
}

/// What a message does that arrives while a turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyPolicy {
    Queue,
    Interrupt,
    Steer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedNotice {
    Reaction,
    Text,
    None,
}

/// Who may press the buttons of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActBy {
    Asker,
    Anyone,
}

/// Where an expert is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    pub expert: ExpertId,
    pub kind: RuntimeKind,
    /// Set: the registration lapses unless a heartbeat renews it this often.
    pub lease: Option<Duration>,
    pub is_paused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeKind {
    Xpert {
        base_url: String,
        api_key: Secret,
        organization_id: Option<String>,
    },
    /// `secret` is `whsec_` + base64 of 24..=64 bytes.
    Callback {
        url: String,
        secret: Secret,
    },
    Echo,
}

impl RuntimeKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Xpert { .. } => "xpert",
            Self::Callback { .. } => "callback",
            Self::Echo => "echo",
        }
    }
}

/// Gives an enum its words: the same in SQL, in the admin API and in settings.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Option::Some(Self::$variant),)+
                    _ => Option::None,
                }
            }
        }
    };
}

words!(Mode { Http = "http", Stream = "stream" });
words!(Scope { Sender = "sender", Group = "group" });
words!(Language { ZhHans = "zh-Hans", En = "en" });
words!(BusyPolicy { Queue = "queue", Interrupt = "interrupt", Steer = "steer" });
words!(QueuedNotice { Reaction = "reaction", Text = "text", None = "none" });
words!(ActBy { Asker = "asker", Anyone = "anyone" });

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> Trigger {
        Trigger {
            expert: ExpertId::parse("e").unwrap(),
            integration: IntegrationId::parse("i").unwrap(),
            is_enabled: true,
            session_timeout: Duration::from_secs(1),
            summary_window: Duration::ZERO,
            former_window: None,
            busy_policy: BusyPolicy::Queue,
            queued_notice: QueuedNotice::None,
            allow_conversations: vec![],
            allow_senders: vec![],
            corp_id: None,
            mention_asker: true,
            act_by: ActBy::Asker,
        }
    }

    #[test]
    fn a_window_holds_for_what_is_said_after_it_was_published() {
        let seconds = Duration::from_secs;
        let former = Some(FormerWindow { window: seconds(9), until: Timestamp(100) });
        for (former_window, at, expected_s) in
            [(None, 0, 3), (former, 99, 9), (former, 100, 3), (former, 101, 3)]
        {
            let trigger = Trigger { summary_window: seconds(3), former_window, ..trigger() };
            assert_eq!(trigger.window_at(Timestamp(at)), seconds(expected_s), "{at}");
        }
    }

    #[test]
    fn what_was_said_before_a_window_came_or_went_is_planned_apart() {
        let seconds = Duration::from_secs;
        for (former_s, at, window_s, is_apart) in [
            (9, 99, 0, true),
            (0, 99, 3, true),
            (9, 100, 0, false),
            (9, 99, 3, false),
            (0, 99, 0, false),
        ] {
            let former = FormerWindow { window: seconds(former_s), until: Timestamp(100) };
            let trigger = Trigger { former_window: Some(former), ..trigger() };
            let found = trigger.former_at(Timestamp(at), seconds(window_s));
            assert_eq!(found, is_apart.then_some(former), "{former_s} {at} {window_s}");
        }
    }

    #[test]
    fn a_listed_person_of_another_organisation_is_not_listed() {
        let cases = [
            (Some("a"), Some("a"), &["ann"][..], true),
            (Some("a"), Some("b"), &["ann"][..], false),
            (Some("a"), None, &["ann"][..], true),
            (None, Some("b"), &["ann"][..], true),
            (Some("a"), Some("b"), &[][..], true),
        ];
        for (ours, theirs, people, expected) in cases {
            let corp_id = |id: Option<&str>| id.map(str::to_owned);
            let allow_senders = people.iter().map(|id| (*id).to_owned()).collect();
            let trigger = Trigger { allow_senders, corp_id: corp_id(ours), ..trigger() };
            let place = Place { id: "cid".to_owned(), kind: PlaceKind::Private, title: None };
            let sender = Sender {
                id: "$:x".to_owned(),
                staff_id: Some("ann".to_owned()),
                name: String::new(),
                corp_id: corp_id(theirs),
            };
            assert_eq!(trigger.allows(&place, &sender), expected, "{ours:?} {theirs:?} {people:?}");
        }
    }

    #[test]
    fn a_trigger_listens_to_the_listed_groups_and_people() {
        use PlaceKind::{Group, Private};
        let (any, cid, ann) = (&[][..], &["cid-1"][..], &["ann"][..]);
        let cases = [
            (any, any, Group, "cid-1", "ann", true),
            (cid, any, Group, "cid-1", "ann", true),
            (cid, any, Group, "cid-2", "ann", false),
            (cid, any, Private, "cid-2", "ann", true),
            (any, ann, Private, "cid-2", "ann", true),
            (any, ann, Private, "cid-2", "bob", false),
            (cid, ann, Group, "cid-1", "bob", false),
            (cid, ann, Group, "cid-1", "ann", true),
        ];
        for (groups, people, kind, place, staff_id, expected) in cases {
            let owned = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect();
            let trigger = Trigger {
                allow_conversations: owned(groups),
                allow_senders: owned(people),
                ..trigger()
            };
            let place = Place { id: place.to_owned(), kind, title: None };
            let staff_id = Some(staff_id.to_owned());
            let sender =
                Sender { id: "$:x".to_owned(), staff_id, name: String::new(), corp_id: None };
            assert_eq!(trigger.allows(&place, &sender), expected, "{groups:?} {people:?}");
        }
    }
}
