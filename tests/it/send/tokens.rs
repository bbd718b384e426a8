//! Access tokens: asked for once, renewed when they are refused, never used for another secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dingtalk_trigger::domain::entry::Origin;
use dingtalk_trigger::io::dingtalk::failure::SendClass;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::record::Kind;
use futures_util::future::join_all;

use super::{Bench, ROBOT, integration, segment};

#[tokio::test]
async fn many_sends_at_once_ask_for_one_token() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    let mut slow = Fault::new("token", Outcome::Slow);
    slow.delay_ms = 100;
    bench.sim.fault(slow);
    let sent = join_all((0..20).map(|_| bench.send(&origin))).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!((bench.seen().len(), bench.count(Kind::Token)), (20, 1));
}

#[tokio::test]
async fn a_failed_token_call_fails_its_own_send_only() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    bench.sim.fault(Fault::preset("token", "unavailable"));
    let failed = bench.send(&origin).await.unwrap_err();
    let expected = (SendClass::Retryable { after: None }, false);
    assert_eq!((failed.class, failed.is_ambiguous), expected);
    assert_eq!(bench.send(&origin).await.unwrap().route, "oto");
    assert_eq!(bench.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_within_the_call() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    bench.send(&origin).await.unwrap();
    bench.sim.revoke_tokens();
    bench.send(&origin).await.unwrap();
    assert_eq!((bench.seen().len(), bench.count(Kind::Token)), (2, 2));
    for refusal in ["tokenInvalid", "unauthorized"] {
        let (tokens, faulted) = (bench.count(Kind::Token), bench.count(Kind::Faulted));
        bench.sim.fault(Fault::preset("oto", refusal).times(2));
        let failed = bench.send(&origin).await.unwrap_err();
        let expected = (SendClass::Retryable { after: None }, false);
        assert_eq!((failed.class, failed.is_ambiguous), expected, "{refusal}");
        assert_eq!(bench.count(Kind::Faulted) - faulted, 2, "{refusal}: tried twice and no more");
        assert_eq!(bench.count(Kind::Token) - tokens, 1, "{refusal}");
    }
}

#[tokio::test]
async fn many_sends_with_a_refused_token_renew_it_once() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    bench.send(&origin).await.unwrap();
    bench.sim.revoke_tokens();
    let sent = join_all((0..20).map(|_| bench.send(&origin))).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    assert_eq!((bench.seen().len(), bench.count(Kind::Token)), (21, 2));
}

#[tokio::test]
async fn a_changed_secret_gets_a_token_of_its_own() {
    let bench = Bench::start().await;
    let origin = Origin { webhook: None, ..bench.alone() };
    bench.send(&origin).await.unwrap();
    let with = async |secret: &str| {
        bench.sender.send(&integration(secret), &origin, &segment("hello")).await
    };
    let refused = with("wrong-secret").await.unwrap_err();
    assert_eq!(refused.class, SendClass::Permanent, "the old token is not used for it");
    assert!(!refused.detail.expose().contains("wrong-secret"), "{}", refused.detail.expose());
    bench.sim.put_app(App::stream(ROBOT, "another-secret"));
    with("another-secret").await.unwrap();
    with("another-secret").await.unwrap();
    assert_eq!((bench.seen().len(), bench.count(Kind::Token)), (3, 2));
}

#[tokio::test]
async fn who_may_not_speak_any_more_when_the_token_is_there_posts_nothing() {
    let bench = Bench::start().await;
    // The conversation is lost while the first of them asks for a token; the others have one.
    for origin in [
        Origin { webhook: None, ..bench.alone() },
        Origin { webhook: None, ..bench.grouped() },
        bench.alone(),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (sim, seen) = (bench.sim.clone(), asked.clone());
        let sender = bench.sender.while_held(Arc::new(move || {
            seen.fetch_add(1, Ordering::Relaxed);
            let records = sim.book().since(0, usize::MAX);
            !records.iter().any(|record| record.kind == Kind::Token)
        }));
        let failed = sender.send(&bench.integration, &origin, &segment("late")).await.unwrap_err();
        let expected = (SendClass::Retryable { after: None }, false);
        assert_eq!((failed.class, failed.is_ambiguous), expected, "{}", failed.detail.expose());
        assert_eq!((bench.seen(), asked.load(Ordering::Relaxed)), (vec![], 1));
    }
    bench.send(&bench.alone()).await.unwrap();
    assert_eq!(bench.seen().len(), 1, "somebody else's turn to speak");
}
