use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn a_signal_wakes_a_retry_and_ends_it() {
    let (ctx, attempts) = (Context::for_tests(), AtomicUsize::new(0));
    let start = Instant::now();
    let busy = || -> anyhow::Result<()> {
        attempts.fetch_add(1, Ordering::SeqCst);
        Err(anyhow::anyhow!("503 Service Unavailable"))
    };
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            ctx.interrupt();
        });
        retry(&ctx, "x", busy)
    });
    assert_eq!(result.unwrap_err().to_string(), "503 Service Unavailable");
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_retry_ends_with_the_first_success_or_an_error_that_stays() {
    let (ctx, attempts) = (Context::for_tests(), AtomicUsize::new(0));
    let attempt = |error: &'static str| {
        let is_first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Err(anyhow::anyhow!(error)) } else { Ok(()) }
    };
    retry(&ctx, "x", || attempt("503 Service Unavailable")).unwrap();
    assert_eq!(attempts.swap(0, Ordering::SeqCst), 2);
    assert_eq!(retry(&ctx, "x", || attempt("401 Unauthorized")).unwrap_err().to_string(), "401 Unauthorized");
    assert_eq!(attempts.into_inner(), 1);
}

#[test]
fn what_may_pass_is_tried_again_and_nothing_else() {
    for (said, transient, throttled) in [
        // buildx, and BuildKit in it.
        ("failed: unexpected status from PUT request to http://127.0.0.1:5000/v2/x: 502 Bad Gateway", true, false),
        (
            "failed to push r/x: unexpected status from POST request to http://r/v2/: 500 Internal Server Error",
            true,
            false,
        ),
        ("failed to push r/x: unexpected status from HEAD request to https://r/v2/x: 403 Forbidden", false, false),
        ("unexpected status from PUT request to https://r/v2/x/manifests/1: 429 Too Many Requests", true, true),
        ("unexpected status code https://r/v2/: 503 Service Unavailable", true, false),
        ("failed to do request: Put \"http://127.0.0.1:5000/v2/x\": EOF", true, false),
        (
            "failed to do request: Head \"https://r/v2/x\": dial tcp 10.0.0.1:443: connect: connection refused",
            true,
            false,
        ),
        ("failed to do request: Head \"https://r/v2/x\": dial tcp: lookup r: no such host", false, false),
        ("failed to do request: Put \"https://r/v2/x\": net/http: TLS handshake timeout", true, false),
        (
            "failed to do request: Put \"https://r/v2/x\": write tcp 10.0.0.2:1->10.0.0.1:443: write: broken pipe",
            true,
            false,
        ),
        ("failed to copy: httpReadSeeker: failed open: unexpected EOF", true, false),
        ("content at https://r/v2/x/manifests/1 not found: not found", false, false),
        (
            "pull access denied, repository does not exist or may require authorization: insufficient_scope",
            false,
            false,
        ),
        ("#12 exporting layers 0.512s done", false, false),
        // Docker's engine.
        ("received unexpected HTTP status: 500 Internal Server Error", true, false),
        ("Error response from daemon: Get \"https://r/v2/\": context deadline exceeded", true, false),
        (
            "Error response from daemon: Get \"https://r/v2/\": x509: certificate signed by unknown authority",
            false,
            false,
        ),
        ("denied: requested access to the resource is denied", false, false),
        (
            "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/",
            false,
            false,
        ),
        // ECR.
        ("toomanyrequests: Rate exceeded", true, true),
        ("tag invalid: The image tag 'x' already exists in the 'y' repository and cannot be overwritten", false, false),
        ("name unknown: The repository with name 'x' does not exist in the registry with id '1'", false, false),
        ("denied: Your authorization token has expired. Reauthenticate and try again.", false, false),
        // The words for what curl was answered.
        ("503 Service Unavailable: UNAVAILABLE: later", true, false),
        ("429 Too Many Requests: TOOMANYREQUESTS: Rate exceeded", true, true),
        ("408 Request Timeout", true, false),
        ("401 Unauthorized: UNAUTHORIZED: authentication required", false, false),
        ("404 Not Found: MANIFEST_UNKNOWN: manifest unknown", false, false),
        ("Recv failure: Connection reset by peer", true, false),
        ("timed out after 60 s", true, false),
    ] {
        assert_eq!((is_transient(said), is_throttled(said)), (transient, throttled), "{said}");
    }
}

#[test]
fn pauses_are_within_their_bounds_and_differ() {
    let (shortest, longest) = (SHORTEST, LONGEST[3]);
    let pauses: Vec<Duration> = (0..100).map(|_| between(shortest, longest)).collect();
    assert!(pauses.iter().all(|pause| (shortest..=longest).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
}

#[test]
fn there_are_five_tries_and_no_time_that_a_registry_asks_for_is_cut() {
    let ctx = Context::for_tests();
    let mut tries = Tries::new();
    assert!(!tries.again(&ctx, "x", "429", Some(WITHIN + SHORTEST)), "too long");
    for _ in 1..MOST_TRIES {
        assert!(tries.again(&ctx, "x", "429", Some(Duration::ZERO)));
    }
    assert!(!tries.again(&ctx, "x", "429", Some(Duration::ZERO)), "the sixth");
}

#[test]
fn all_writes_become_slower_together_and_faster_again() {
    let pace = Pace::default();
    let start = Instant::now();
    assert!(pace.next() <= Instant::now());
    pace.adapt(true);
    pace.adapt(true);
    pace.next();
    assert!(pace.next() >= start + Duration::from_millis(200));
    (0..50).for_each(|_| pace.adapt(false));
    assert_eq!(pace.0.lock().unwrap().length, Duration::ZERO);
}
