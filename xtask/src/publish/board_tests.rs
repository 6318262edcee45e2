use expect_test::expect;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A board with a build that began at once, and one that began after 40 s.
fn board() -> Board {
    let mut board = Board::default();
    board.begin("job-a (arm64)".to_owned(), Duration::ZERO);
    board.begin("job-b (amd64)".to_owned(), 40 * SECOND);
    board
        .step("job-a (arm64)", Some(&step("[builder 2/3] RUN cargo build --release --locked --package everything", 2)));
    board
}

fn step(name: &str, start: u64) -> Step {
    Step { name: name.to_owned(), start_ms: 1_000 * start, end_ms: None, cached: false, failed: false }
}

#[test]
fn the_area_shows_what_runs_for_how_long_and_in_which_step() {
    let area = |columns| format!("|{}", board().area("(7/24)", 72 * SECOND, (columns, 24)).join("\n|"));
    expect![[r#"
        |    Building (7/24) 2 running, 1m12s
        |    job-a (arm64) 1m12s, 1m10s in [builder 2/3] RUN cargo build --release --locked --package everything
        |    job-b (amd64) 32s"#]]
    .assert_eq(&area(120));
    expect![[r#"
        |    Building (7/24) 2 running, 1m12s
        |    job-a (arm64) 1m12s, 1m10s in [builder 2/3] RUN cargo…
        |    job-b (amd64) 32s"#]]
    .assert_eq(&area(60));
    assert!(area(60).lines().all(|line| width(line) <= 60));
}

#[test]
fn the_first_sign_comes_after_half_a_second() {
    let mut board = Board::default();
    board.begin("a (amd64)".to_owned(), SECOND);
    assert!(board.area("(0/1)", Duration::from_millis(1_499), (80, 24)).is_empty());
    assert_eq!(board.area("(0/1)", Duration::from_millis(1_500), (80, 24)).len(), 2);
    board.end("a (amd64)", 2 * SECOND);
    assert!(board.area("(1/1)", 2 * SECOND, (80, 24)).is_empty());
}

#[test]
fn names_are_never_cut() {
    let mut board = Board::default();
    let names = ["1", "2"].map(|end| format!("{}-{end} (amd64)", "a-long-name".repeat(6)));
    for name in &names {
        board.begin(name.clone(), Duration::ZERO);
        board.step(name, Some(&step("[1/1] RUN x", 0)));
    }
    for columns in [0, 1, 20, 60, 79, 200] {
        let area = board.area("(0/2)", SECOND, (columns, 4_000));
        assert!(names.iter().all(|name| area.concat().contains(name)), "{columns}: {area:?}");
        assert!(columns < 2 || area.iter().all(|row| width(row) < columns), "{columns}: {area:?}");
    }
}

#[test]
fn no_more_is_shown_than_half_a_terminal_holds() {
    let mut board = Board::default();
    (0..20).for_each(|n| board.begin(format!("job-{n} (amd64)"), Duration::ZERO));
    let area = board.area("(0/20)", SECOND, (80, 10));
    assert_eq!((area.len(), area[4].as_str()), (5, "    and 17 more"));
    // A name may take two rows.
    board.running[0].name = "a".repeat(100);
    let area = board.area("(0/20)", SECOND, (80, 10));
    assert_eq!((area.len(), area[4].as_str()), (5, "    and 18 more"));
    assert_eq!(board.area("(0/20)", SECOND, (80, 100)).len(), 22);
}

#[test]
fn after_a_minute_without_a_line_one_says_what_runs() {
    let mut board = board();
    assert_eq!(board.heartbeat("(7/24)", 99 * SECOND), None, "a line told of the second build after 40 s");
    expect![
        "(7/24) job-a (arm64) 1m40s, 1m38s in [builder 2/3] RUN cargo build --release --locke…; job-b (amd64) 1m00s"
    ]
    .assert_eq(&board.heartbeat("(7/24)", 100 * SECOND).unwrap());
    assert_eq!(board.heartbeat("(7/24)", 159 * SECOND), None);
    board.end("job-a (arm64)", 159 * SECOND);
    assert_eq!(board.heartbeat("(8/24)", 160 * SECOND), None);
    (0..5).for_each(|n| board.begin(format!("job-{n} (amd64)"), 160 * SECOND));
    let line = board.heartbeat("(8/24)", 220 * SECOND).unwrap();
    assert!(line.ends_with("job-2 (amd64) 1m00s; and 2 more"), "{line}");
}

#[test]
fn a_step_that_is_cut_takes_no_more_columns_than_there_are() {
    assert_eq!(cut("RUN make", 8), "RUN make");
    assert_eq!(cut("RUN make it", 8), "RUN ma…");
    assert_eq!(cut("你好你好", 7), "你好…");
}
