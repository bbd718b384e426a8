//! The Stream connections as their pods report them, without those of pods that are gone.
//!
//! A record outlives a pod that was killed by a minute, and only its own pod removes it. So it counts
//! while its pod has stored something, this record or that it is alive, as recently as its fellows ask
//! of it before they take its robots over.

use std::collections::BTreeMap;

use super::State;
use crate::domain::id::IntegrationId;
use crate::domain::members::QUIET_MAX;
use crate::domain::time::Timestamp;
use crate::io::live::{Error, Stored};
use crate::protocol::live::{self, Link, Member};

/// Those under `prefix`, by integration; what a newer release wrote otherwise is left out.
pub(super) async fn held(
    state: &State,
    prefix: &str,
) -> Result<BTreeMap<IntegrationId, Vec<Link>>, Error> {
    let (links, members) =
        tokio::try_join!(state.live.read(prefix), state.live.read(live::MEMBERS))?;
    Ok(of_the_living(&links, &members, state.context.clock.now()))
}

fn of_the_living(
    links: &[Stored],
    members: &[Stored],
    now: Timestamp,
) -> BTreeMap<IntegrationId, Vec<Link>> {
    let seen: BTreeMap<String, Timestamp> = members
        .iter()
        .filter_map(|stored| {
            let member: Member = live::read(&stored.key, &stored.value).ok()?;
            Some((member.pod, stored.at))
        })
        .collect();
    let mut held: BTreeMap<IntegrationId, Vec<Link>> = BTreeMap::new();
    for stored in links {
        let link: Option<Link> = live::read(&stored.key, &stored.value).ok();
        let Some((id, link)) = live::integration_of(&stored.key).zip(link) else { continue };
        let last = seen.get(&link.pod).copied().unwrap_or_default().max(stored.at);
        if now.since(last) < QUIET_MAX {
            held.entry(id).or_default().push(link);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Seq;
    use crate::protocol::live::LinkState;

    const NOW: i64 = 100_000;

    fn stored(key: String, value: Vec<u8>, age_s: i64) -> Stored {
        Stored { key, revision: Seq(1), at: Timestamp(NOW - age_s * 1000), value: value.into() }
    }

    fn link(robot: &str, pod: &str, age_s: i64) -> Stored {
        let state = LinkState::Connected;
        let (pod, last_error) = (pod.to_owned(), None);
        let link = Link { pod, state, since_ms: 0, last_frame_at_ms: None, last_error };
        let key = live::link_key(&IntegrationId::parse(robot).unwrap(), &link.pod);
        stored(key, live::write(&link), age_s)
    }

    fn member(pod: &str, age_s: i64) -> Stored {
        let member = Member { pod: pod.to_owned(), is_leaving: false };
        stored(live::member_key(pod), live::write(&member), age_s)
    }

    #[test]
    fn a_connection_counts_while_its_pod_was_heard_of() {
        for (what, links, members, expected) in [
            ("both are young", vec![link("a", "p", 1)], vec![member("p", 1)], 1),
            ("the pod is alive", vec![link("a", "p", 50)], vec![member("p", 8)], 1),
            ("it was connected just now", vec![link("a", "p", 8)], vec![member("p", 50)], 1),
            ("it was never a member", vec![link("a", "p", 8)], vec![], 1),
            ("it was killed", vec![link("a", "p", 9)], vec![member("p", 9)], 0),
            ("its record is gone", vec![link("a", "p", 9)], vec![], 0),
            ("another one lives", vec![link("a", "p", 9)], vec![member("q", 1)], 0),
            ("a clock is behind", vec![link("a", "p", -5)], vec![], 1),
        ] {
            let held = of_the_living(&links, &members, Timestamp(NOW));
            assert_eq!(held.values().map(Vec::len).sum::<usize>(), expected, "{what}");
        }
        let links = [link("a", "p", 1), link("a", "q", 60), link("b", "q", 60)];
        let held = of_the_living(&links, &[], Timestamp(NOW));
        let names: Vec<_> = held.keys().map(IntegrationId::as_str).collect();
        assert_eq!((names, held.values().next().map(Vec::len)), (vec!["a"], Some(1)));
    }
}
