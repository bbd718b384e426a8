//! The bulkhead by itself, in virtual time.
//!
//! What a permit is for is told by who enters next: a newcomer, a run that waits a moment, or a conversation
//! that is woken from the index.

use super::*;
use crate::domain::id::ConversationKey;

fn expert(name: &str) -> ExpertId {
    ExpertId::parse(name).unwrap()
}

fn conversation(letter: &str) -> Conversation {
    let key = ConversationKey::parse(&letter.repeat(26)).unwrap();
    Conversation { integration: "robot".parse().unwrap(), key }
}

fn bulkhead(expert_runs_max: usize) -> Bulkhead {
    Bulkhead::new(Share { runs_max: 8, expert_runs_max: Some(expert_runs_max) })
}

#[tokio::test(start_paused = true)]
async fn a_busy_expert_does_not_take_the_permits_of_another() {
    let bulkhead = bulkhead(1);
    let (slow, quick, ann) = (expert("slow"), expert("quick"), conversation("a"));
    let held = bulkhead.enter(&ann, &slow).await;
    assert!(held.is_some());
    assert!(bulkhead.enter(&ann, &slow).await.is_none());
    assert!(bulkhead.enter(&ann, &quick).await.is_some());
    drop(held);
    assert!(bulkhead.enter(&ann, &slow).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_a_moment_gets_the_freed_permit() {
    let bulkhead = bulkhead(1);
    let (slow, ann) = (expert("slow"), conversation("a"));
    let held = bulkhead.enter(&ann, &slow).await;
    let (entered, ()) = tokio::join!(bulkhead.enter(&ann, &slow), async {
        tokio::time::sleep(PATIENCE / 2).await;
        drop(held);
    });
    assert!(entered.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_freed_permit_is_kept_for_the_oldest_that_waits_and_not_for_a_newcomer() {
    let bulkhead = bulkhead(1);
    let (slow, ann, bob) = (expert("slow"), conversation("a"), conversation("b"));
    let held = bulkhead.enter(&ann, &slow).await;
    bulkhead.parked(&slow, Seq(7));
    let before = Instant::now();
    assert!(bulkhead.enter(&ann, &slow).await.is_none());
    assert_eq!(before.elapsed(), Duration::ZERO, "it parks at once behind those that wait");
    drop(held);
    let kept = bulkhead.kept().await;
    assert_eq!(kept, [Kept { expert: slow.clone(), count: 1, after: Seq(0), version: 1 }]);
    assert!(bulkhead.enter(&ann, &slow).await.is_none());
    assert!(bulkhead.claim(&slow, &bob, Seq(7)));
    assert!(!bulkhead.claim(&slow, &ann, Seq(8)), "one permit, one claim");
    bulkhead.claimed_up_to(&slow, Seq(7));
    bulkhead.admit(&bob, &slow, Seq(7));
    let woken = bulkhead.enter(&bob, &slow).await;
    assert!(woken.is_some());
    drop(woken);
    // Whatever is kept again finds nothing more: then newcomers enter.
    let kept = bulkhead.kept().await;
    assert_eq!(kept[0].after, Seq(7));
    bulkhead.none_waits(&kept[0]);
    assert!(bulkhead.enter(&ann, &slow).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_comes_while_the_index_is_read_is_not_overlooked() {
    let bulkhead = bulkhead(1);
    let (slow, ann) = (expert("slow"), conversation("a"));
    let held = bulkhead.enter(&ann, &slow).await;
    bulkhead.parked(&slow, Seq(7));
    drop(held);
    let kept = bulkhead.kept().await;
    bulkhead.parked(&slow, Seq(5));
    bulkhead.none_waits(&kept[0]);
    let kept = bulkhead.kept().await;
    assert_eq!((kept[0].count, kept[0].after), (1, Seq(0)));
    bulkhead.parked(&slow, Seq(6));
    bulkhead.claimed_up_to(&slow, Seq(9));
    assert_eq!(bulkhead.kept().await[0].after, Seq(5), "the cursor does not pass the entry");
}

#[tokio::test(start_paused = true)]
async fn a_woken_run_without_a_kept_permit_runs_beside_the_share_and_counts() {
    let bulkhead = bulkhead(1);
    let (slow, ann, bob) = (expert("slow"), conversation("a"), conversation("b"));
    let held = bulkhead.enter(&ann, &slow).await;
    bulkhead.admit(&bob, &slow, Seq(7));
    let guest = bulkhead.enter(&bob, &slow).await;
    assert!(guest.is_some());
    drop(held);
    assert!(bulkhead.enter(&ann, &slow).await.is_none(), "the guest counts");
    drop(guest);
    assert!(bulkhead.enter(&ann, &slow).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_taken_lapses_and_one_that_was_settled_is_free() {
    let bulkhead = bulkhead(1);
    let (slow, ann, bob) = (expert("slow"), conversation("a"), conversation("b"));
    for end in ["lapses", "settled", "unclaimed"] {
        bulkhead.parked(&slow, Seq(7));
        let kept = bulkhead.kept().await;
        assert!(bulkhead.claim(&slow, &bob, Seq(7)), "{end}");
        match end {
            "lapses" => {
                tokio::time::advance(CLAIM_MAX).await;
                bulkhead.lapse();
            }
            "settled" => {
                bulkhead.settle(&bob, Seq(6));
                bulkhead.settle(&bob, Seq(7));
            }
            _ => bulkhead.unclaim(&bob, Seq(7)),
        }
        bulkhead.none_waits(&kept[0]);
        assert!(bulkhead.enter(&ann, &slow).await.is_some(), "{end}");
    }
}
