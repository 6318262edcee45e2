//! Real programs, each of them a few lines of Perl, which every Debian has.

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;

use super::*;
use crate::model::Timeouts;

const SECOND: Duration = Duration::from_secs(1);
/// Starts a program that sleeps, prints its process number, and waits for it. The sleeper keeps stdout open.
const PARENT: &str =
    r#"$| = 1; my $pid = fork // die; if (!$pid) { exec "sleep", "30" } print "$pid\n"; waitpid $pid, 0"#;

fn perl(ctx: &Context, code: &str, options: &Options<'_>) -> Outcome {
    run(ctx, |sh| cmd!(sh, "perl -e {code}"), options).unwrap()
}

/// Whether a process still runs; one that ended and that nobody has waited for yet does not.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_limit_ends_the_program_and_all_that_it_started() {
    let (ctx, start) = (Context::for_tests(), Instant::now());
    let outcome = perl(&ctx, PARENT, &Options { limit: Limit::Within(SECOND), ..Options::default() });
    assert_eq!(outcome.end, End::TimedOut(SECOND));
    assert!((SECOND..3 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    let pid = outcome.stdout().trim().to_owned();
    assert!(pid.parse::<u32>().is_ok() && !is_running(&pid), "{pid}");
}

#[test]
fn a_program_that_does_not_end_when_asked_is_killed_with_all_that_it_started() {
    let (ctx, start) = (Context::for_tests(), Instant::now());
    let stubborn = format!("$SIG{{TERM}} = 'IGNORE'; {PARENT}");
    let outcome = perl(&ctx, &stubborn, &Options { limit: Limit::Within(SECOND), ..Options::default() });
    assert_eq!(outcome.end, End::TimedOut(SECOND));
    assert!((SECOND + GRACE..SECOND + GRACE + 2 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(!is_running(outcome.stdout().trim()));
}

#[test]
fn a_signal_ends_the_program_and_all_that_it_started() {
    let (ctx, start) = (Context::for_tests(), Instant::now());
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| perl(&ctx, PARENT, &Options::default()));
        std::thread::sleep(SECOND / 2);
        ctx.interrupt();
        running.join().unwrap()
    });
    assert_eq!(outcome.end, End::Interrupted);
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    assert!(!is_running(outcome.stdout().trim()));
}

#[test]
fn after_a_signal_nothing_more_is_started() {
    let ctx = Context::for_tests();
    let file = ctx.root.join(format!("xtask-started-{}", std::process::id()));
    let log = file.with_extension("log");
    ctx.interrupt();
    assert_eq!(run(&ctx, |sh| cmd!(sh, "touch {file}"), &Options::default()).unwrap().end, End::Interrupted);
    let shown = show(&ctx, |sh| cmd!(sh, "touch {file}"), Limit::None, Stdio::null());
    assert_eq!(shown.unwrap_err().to_string(), "interrupted");
    assert_eq!(spawn_daemon(&ctx, |sh| cmd!(sh, "touch {file}"), &log).unwrap_err().to_string(), "interrupted");
    assert!(!file.exists() && !log.exists());
}

#[test]
fn a_program_that_left_the_group_keeps_nobody_waiting() {
    let daemon = r#"use POSIX; $| = 1; my $pid = fork // die; if (!$pid) { POSIX::setsid(); exec "sleep", "30" } "#;
    let ctx = Context::for_tests();
    for (then, options, end) in [
        (r#"print $pid"#, Options::default(), End::Success),
        (
            r#"print "$pid\n"; sleep 30"#,
            Options { limit: Limit::Within(SECOND), ..Options::default() },
            End::TimedOut(SECOND),
        ),
    ] {
        let start = Instant::now();
        let outcome = perl(&ctx, &format!("{daemon} {then}"), &options);
        assert_eq!(outcome.end, end);
        // The limit, then the grace, because the pipe is not closed, and what is waited for after the end.
        assert!(start.elapsed() < SECOND + GRACE + DRAIN_TIMEOUT + 2 * SECOND, "{:?}", start.elapsed());
        let pid = outcome.stdout().trim().to_owned();
        assert!(is_running(&pid), "what left the group is no business of the limit");
        signal(&ctx, "-KILL", &pid);
    }
}

#[test]
fn a_program_that_never_stops_printing_meets_its_limit() {
    let (ctx, start) = (Context::for_tests(), Instant::now());
    let code = r#"$| = 1; while (1) { print "y\n" }"#;
    let outcome = perl(&ctx, code, &Options { limit: Limit::Within(SECOND / 4), ..Options::default() });
    assert_eq!(outcome.end, End::TimedOut(SECOND / 4));
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
}

#[test]
fn output_is_kept_byte_for_byte_and_handed_on_line_by_line() {
    let (ctx, lines) = (Context::for_tests(), Mutex::new(Vec::new()));
    let on_line = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let options = Options { on_line: Some(&on_line), ..Options::default() };
    let outcome = perl(&ctx, r#"print "a\xff\0b\r\nc"; print STDERR "d\n""#, &options);
    assert_eq!(outcome.stdout_bytes, b"a\xff\0b\r\nc");
    assert_eq!((outcome.stdout().as_ref(), outcome.stderr.as_str()), ("a\u{fffd}\0b\r\nc", "d\n"));
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    assert_eq!(lines, ["a\u{fffd}\0b", "c", "d"]);
}

#[test]
fn long_output_is_complete_and_its_lines_are_handed_on_once() {
    let (ctx, lines) = (Context::for_tests(), Mutex::new(Vec::new()));
    let on_line = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let code = r#"print "$_\n" for 1 .. 500_000"#;
    let outcome = perl(&ctx, code, &Options { on_line: Some(&on_line), ..Options::default() });
    let numbers: Vec<String> = (1..=500_000).map(|n| n.to_string()).collect();
    assert!(lines.into_inner().unwrap() == numbers && outcome.stdout() == numbers.join("\n") + "\n");
    assert_eq!(perl(&ctx, r#"print "x\0" x 5_000_000"#, &Options::default()).stdout_bytes.len(), 10_000_000);
}

#[test]
fn a_program_may_print_more_than_a_pipe_holds_before_it_reads() {
    let ctx = Context::for_tests();
    let text = "0123456789abcdef\n".repeat(20_000);
    let code = r#"print "x" x 300_000, "\n"; my @lines = <STDIN>; print scalar @lines"#;
    let outcome = perl(&ctx, code, &Options { stdin: Some(&text), ..Options::default() });
    assert_eq!(outcome.end, End::Success);
    assert!(outcome.stdout().ends_with("x\n20000"), "{}", outcome.stdout().len());
    assert_eq!(perl(&ctx, "exit 0", &Options { stdin: Some(&text), ..Options::default() }).end, End::Success);
}

#[test]
fn a_failure_always_has_a_reason() {
    let ctx = Context::for_tests();
    let reason =
        |code: &str| perl(&ctx, code, &Options { limit: Limit::Within(SECOND / 4), ..Options::default() }).reason();
    assert_eq!(reason("exit 3"), "exited with 3");
    assert_eq!(reason("kill 9, $$"), "was ended by a signal");
    assert_eq!(reason(r#"print STDERR "ERROR: no\n"; exit 1"#), "no");
    assert_eq!(reason(r#"print "no\n"; exit 1"#), "no");
    assert_eq!(reason("sleep 9"), "timed out after 0.25 s");
    // Of our signal nothing is told.
    let proud = r#"$| = 1; $SIG{TERM} = sub { warn "got SIGTERM\n"; exit 1 }; print STDERR "at work\n"; sleep 9"#;
    assert_eq!(reason(proud), "timed out after 0.25 s");
    let outcome = perl(&ctx, proud, &Options { limit: Limit::Within(SECOND), ..Options::default() });
    assert_eq!((outcome.stderr.as_str(), outcome.end), ("at work\n", End::TimedOut(SECOND)));
    assert!(outcome.to_string().ends_with("` timed out after 1 s: at work"), "{outcome}");
    let outcome = perl(&ctx, "exit 3", &Options::default());
    assert_eq!(outcome.to_string(), "`perl -e 'exit 3'` exited with 3");
    assert_eq!(outcome.read().unwrap_err().to_string(), "`perl -e 'exit 3'` exited with 3");
}

#[test]
fn every_program_has_a_limit_that_is_configured() {
    let mut ctx = Context::for_tests();
    ctx.timeouts = Timeouts { read: SECOND / 4, write: SECOND / 5, build: SECOND / 10 };
    for (limit, after) in [
        (Limit::default(), Some(SECOND / 4)),
        (Limit::Write, Some(SECOND / 5)),
        (Limit::Build(None), Some(SECOND / 10)),
        (Limit::Build(Some(SECOND / 2)), Some(SECOND / 2)),
        (Limit::None, None),
    ] {
        let end = perl(&ctx, "sleep 1", &Options { limit, ..Options::default() }).end;
        assert_eq!(end, after.map_or(End::Success, End::TimedOut), "{limit:?}");
    }
    for (seconds, said) in [(5, "5 s"), (60, "60 s"), (90, "90 s"), (120, "2 min"), (600, "10 min"), (3_600, "60 min")]
    {
        assert_eq!(End::TimedOut(seconds * SECOND).to_string(), format!("timed out after {said}"));
    }
}

#[test]
fn secrets_are_covered_where_a_program_repeats_them() {
    let (ctx, secret) = (Context::for_tests(), Secret::new("pass-word\nsecond line"));
    let options = Options { secrets: &[&secret], ..Options::default() };
    let outcome = perl(&ctx, r#"print "x: pass-word\n"; print STDERR "y: second line\npass\n"; exit 1"#, &options);
    assert_eq!((outcome.stdout().as_ref(), outcome.stderr.as_str()), ("x: ***\n", "y: ***\npass\n"));
    // What succeeded gives data.
    assert_eq!(perl(&ctx, r#"print "pass-word""#, &options).stdout(), "pass-word");
    // What a build is given of secrets is in its environment alone, and covered line by line too.
    let env = [("TOKEN".to_owned(), Secret::new("of-the-build"))];
    let lines = RefCell::new(Vec::new());
    let on_line = |line: &str| lines.borrow_mut().push(line.to_owned());
    let options = Options { env: &env, on_line: Some(&on_line), ..Options::default() };
    let outcome = perl(&ctx, r#"print STDERR "1 $ENV{TOKEN}\n2 $ENV{TOKEN}""#, &options);
    assert_eq!((outcome.stderr.as_str(), lines.into_inner()), ("1 ***\n2 ***", vec!["1 ***".into(), "2 ***".into()]));
    assert_eq!(redacted(b"abc", &[&Secret::new(""), &Secret::new("b")]), "abc", "too short to be secret");
}

#[test]
fn what_a_program_says_to_programs_is_told_in_lines_for_people() {
    let (ctx, secret) = (Context::for_tests(), Secret::new("hidden"));
    let (translate, told) = (|line: &str| vec![line.replace('-', ""), "more".to_owned()], Mutex::new(Vec::new()));
    let on_line = |line: &str| told.lock().unwrap().push(line.to_owned());
    let options =
        Options { secrets: &[&secret], on_line: Some(&on_line), translate: Some(&translate), ..Options::default() };
    // What is hidden from programs, as by base64, shows only when it is translated.
    let outcome = perl(&ctx, r#"print "h-i\n"; print STDERR "a hid-den\nno newline""#, &options);
    assert_eq!(outcome.stderr, "a ***\nmore\nno newline\nmore\n");
    assert_eq!(outcome.stdout(), "h-i\n");
    told.lock().unwrap().sort();
    assert_eq!(*told.lock().unwrap(), ["a ***", "h-i", "more", "more", "no newline"]);
    let (start, limit) = (Instant::now(), Limit::Within(SECOND));
    let code = r#"$| = 1; $SIG{TERM} = sub { print STDERR "stopped\n"; exit 1 }; print STDERR "a\n"; sleep 30"#;
    let outcome = perl(&ctx, code, &Options { limit, translate: Some(&translate), ..Options::default() });
    assert_eq!((outcome.stderr.as_str(), outcome.end), ("a\nmore\n", End::TimedOut(SECOND)));
    assert!(start.elapsed() < 3 * SECOND);
}

#[test]
fn a_daemon_outlives_its_start_and_writes_to_its_log() {
    let mut ctx = Context::for_tests();
    let secrets = [("JOBS_PASSWORD", "x"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x"), ("NPM_TOKEN", "x")];
    ctx.env = crate::run::Environment::from(secrets);
    ctx.env.withheld.insert("NPM_TOKEN".to_owned());
    let log = ctx.root.join(format!("xtask-daemon-{}", std::process::id())).join("log");
    let code = r#"$| = 1; print join(",", grep /JOBS_PASSWORD|ID_TOKEN|NPM_TOKEN/, keys %ENV), getpgrp, "\n"; warn "e\n"; sleep 30"#;
    // The command's environment stands for that of this process.
    let mut child = spawn_daemon(&ctx, |sh| cmd!(sh, "perl -e {code}").envs(secrets), &log).unwrap();
    let wanted = format!("{}\ne\n", child.id());
    let mut said = String::new();
    poll(5 * SECOND, || {
        said = std::fs::read_to_string(&log).unwrap_or_default();
        said == wanted
    });
    assert_eq!(said, wanted, "no secrets, a group of its own, and both streams");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
}

#[test]
fn words_are_quoted_for_a_shell() {
    for (word, quoted) in [
        ("docker", "docker"),
        ("a b", "'a b'"),
        ("", "''"),
        ("it's", r"'it'\''s'"),
        ("$(id)", "'$(id)'"),
        ("busybox:1.37=docker-image://x/y@sha256:0", "busybox:1.37=docker-image://x/y@sha256:0"),
        ("{{json .}}", "'{{json .}}'"),
        ("~", "'~'"),
        ("it's\n\u{1b}[2J\\\u{202e}", r"$'it\'s\012\033[2J\\\u202e'"),
    ] {
        assert_eq!(quote(OsStr::new(word)), quoted);
        let script = format!("printf %s {quoted}");
        let pasted = Command::new("bash").args(["-c", &script]).env("LC_ALL", "C.UTF-8").output().unwrap();
        assert_eq!(String::from_utf8(pasted.stdout).unwrap(), word);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_is_killed_when_this_one_dies() {
    let told = read(&Context::for_tests(), |sh| cmd!(sh, "setpriv --dump"), &Options::default()).unwrap();
    assert!(told.to_lowercase().contains("parent death signal: kill"), "{told}");
}
