//! What the deliveries of a slot say of the turn it meets: waiting never counts, so each one after the
//! first is a run that died.
//!
//! A slot covers every turn up to its entry; its crashes are those of the turn they hit alone.

use super::id::Seq;
use super::turn::Head;

/// Deliveries of one slot beyond which its open turn is buried.
pub const DELIVERIES_MAX: u64 = 20;

/// Whether the turn that is open under a slot with so many deliveries is to be buried.
pub fn is_poisoned(deliveries: u64) -> bool {
    deliveries > DELIVERIES_MAX
}

/// Whether a slot up to `to` that was delivered so often leaves what follows the turn it took over to a
/// slot anew: the crashes that it has counted are none of what follows.
pub fn leaves_rest(deliveries: u64, head: &Head, to: Seq) -> bool {
    deliveries > 1 && head.turn.is_none() && head.position < to
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: u64 = 100;

    /// How many of so many turns under one slot are buried where every run finishes one turn and dies in
    /// the next so often.
    fn buried(crashes: u64) -> usize {
        let mut deliveries = 1;
        let buried = (1..=TURNS).filter(|turn| {
            deliveries += crashes;
            let is_buried = is_poisoned(deliveries);
            let head = Head { position: Seq(*turn), ..Head::default() };
            if leaves_rest(deliveries, &head, Seq(TURNS)) {
                deliveries = 1;
            }
            is_buried
        });
        buried.count()
    }

    #[test]
    fn crashes_count_against_the_turn_they_hit_and_not_against_those_after_it() {
        assert_eq!(buried(0), 0);
        assert_eq!(buried(1), 0);
        assert_eq!(buried(DELIVERIES_MAX - 1), 0);
        assert_eq!(buried(DELIVERIES_MAX), usize::try_from(TURNS).unwrap());
    }

    #[test]
    fn a_slot_stays_where_nothing_is_left_or_nobody_died() {
        let head = Head { position: Seq(7), ..Head::default() };
        for (deliveries, to, expected) in [(2, 8, true), (1, 8, false), (2, 7, false)] {
            assert_eq!(leaves_rest(deliveries, &head, Seq(to)), expected, "{deliveries} {to}");
        }
    }
}
