//! How many files, and thus connections, the process may have open.
//!
//! The usual soft limit of a login and of systemd is 1024, far below the hard one: it is raised at the start, so that
//! connections do not use up what the broker, the database and DingTalk need. Child processes inherit it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one and logs both.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => tracing::info!(
            before = shown(before.current),
            limit = shown(before.maximum),
            "raised the limit of open files"
        ),
        Err(error) => tracing::warn!(
            %error,
            limit = shown(before.current),
            "failed to raise the limit of open files"
        ),
    }
}

/// How many may be open; `None` where there is no limit.
pub fn limit() -> Option<usize> {
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}
