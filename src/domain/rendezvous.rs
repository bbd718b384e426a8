//! Which pod owns an integration's Stream connection: rendezvous hashing over the members.
//!
//! Every pod that sees the same members names the same owner, and a member that comes or goes moves only
//! its own share. The hash is written out here, because builds of different age must agree on it.

/// The owners of `key`, best first: one, or two for a hot second.
pub fn owners<'a>(key: &str, members: impl Iterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let mut ranked: Vec<_> = members.map(|member| (score(key, member), member)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.dedup();
    ranked.into_iter().take(count).map(|(_, member)| member).collect()
}

/// FNV-1a over both names, a zero byte between them, then the finalizer of splitmix64: FNV alone leaves
/// the upper bits, which decide, nearly equal for names that differ at the end.
fn score(key: &str, member: &str) -> u64 {
    let bytes = key.bytes().chain([0]).chain(member.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: [&str; 4] = ["edge-0", "edge-1", "edge-2", "edge-3"];

    fn owner<'a>(key: &str, pods: &[&'a str]) -> &'a str {
        owners(key, pods.iter().copied(), 1)[0]
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        assert_eq!(score("robot", "edge-0"), 0x9d3b_0f2e_a0ef_18d5);
        let owned: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|key| owner(key, &PODS)).into();
        assert_eq!(owned, ["edge-1", "edge-3", "edge-1", "edge-2", "edge-2", "edge-0"]);
    }

    #[test]
    fn a_member_that_leaves_moves_only_what_it_owned() {
        for i in 0..500 {
            let key = format!("robot-{i}");
            let before = owner(&key, &PODS);
            let after = owner(&key, &PODS[..3]);
            if before == "edge-3" {
                // The hot second takes over.
                assert_eq!(owners(&key, PODS.into_iter(), 2), [before, after]);
            } else {
                assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn shares_are_about_equal() {
        let mut shares = [0; PODS.len()];
        for i in 0..4000 {
            let owner = owner(&format!("robot-{i}"), &PODS);
            shares[PODS.iter().position(|pod| *pod == owner).unwrap()] += 1;
        }
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_order_and_repetition_of_members_do_not_matter() {
        let shuffled = ["edge-2", "edge-0", "edge-2", "edge-3", "edge-1"];
        for key in ["a", "b", "c"] {
            assert_eq!(
                owners(key, shuffled.into_iter(), 2),
                owners(key, PODS.into_iter(), 2),
                "{key}"
            );
        }
        assert!(owners("a", std::iter::empty(), 1).is_empty());
    }
}
