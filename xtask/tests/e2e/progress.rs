//! What is shown of builds while they run: on a real terminal, which is tmux, and in a log.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{DOCKERFILE, OWN, Registry, TempDir, Tree};

/// A terminal with a command in it.
struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// Starts a command in a terminal of so many columns, after a line that was there before.
    fn start(command: &Command, columns: usize) -> Terminal {
        let terminal = Terminal { dir: TempDir::new() };
        let words: Vec<&str> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_str().unwrap())
            .collect();
        let script = format!("echo before; '{}'; echo \"ended with $?\"; exec sleep 600", words.join("' '"));
        let columns = columns.to_string();
        let mut tmux = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", "30", &script]);
        tmux.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => tmux.env(name, value),
                None => tmux.env_remove(name),
            };
        }
        assert!(tmux.status().expect("tmux is needed: run `cargo xtask setup`").success());
        terminal
    }

    fn socket(&self) -> PathBuf {
        self.dir.0.join("tmux")
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket()).args(args);
        command
    }

    fn tell(&self, args: &[&str]) {
        assert!(self.tmux(args).status().unwrap().success(), "{args:?}");
    }

    /// What is seen now, row by row.
    fn rows(&self) -> Vec<String> {
        let output = self.tmux(&["capture-pane", "-p"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim_end().lines().map(str::to_owned).collect()
    }

    /// What is seen as soon as it is so.
    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let rows = self.rows();
            if is_so(&rows) {
                return rows;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{what}: {rows:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).stderr(Stdio::null()).status();
    }
}

/// Whether a row is seen that holds all of these.
fn has(rows: &[String], texts: &[&str]) -> bool {
    rows.iter().any(|row| texts.iter().all(|text| row.contains(text)))
}

#[test]
fn a_terminal_shows_what_runs_and_keeps_nothing_of_it() {
    let names = ["1", "2"].map(|end| format!("{}-{end}", "a-long-name".repeat(5)));
    let slow = "FROM busybox:1.37\nRUN echo a step that is too long for sixty columns; sleep 600\n";
    let paths = names.each_ref().map(|name| format!("jobs/{name}/Dockerfile"));
    let tree = Tree::new(&[("jobs/quick/Dockerfile", DOCKERFILE), (&paths[0], slow), (&paths[1], slow)]);
    let registry = Registry::start();
    let env = [("JOBS_REGISTRY", registry.address.as_str()), ("TERM", "tmux")];
    let terminal = Terminal::start(&tree.command(&["build", "--arch", OWN], &env), 120);
    let is_slow = |rows: &[String]| has(rows, &["Building (1/3) 2 running, "]) && has(rows, &["s in [1/2] RUN echo"]);
    let wide = terminal.wait("two builds that take long", is_slow);
    assert_eq!(wide[0], "before", "{wide:#?}");
    assert!(has(&wide, &["Pushed (1/3) ", "/jobs/quick:", " steps cached"]), "{wide:#?}");
    assert!(names.iter().all(|name| has(&wide, &[name])), "{wide:#?}");
    // Without colours, it is drawn all the same; narrower, names go on in the next row.
    terminal.tell(&["resize-window", "-x", "60"]);
    std::thread::sleep(Duration::from_secs(1));
    let narrow = terminal.rows();
    assert_eq!(narrow.iter().filter(|row| row.contains(" running, ")).count(), 1, "{narrow:#?}");
    assert!(names.iter().all(|name| narrow.concat().contains(name)), "{narrow:#?}");
    terminal.tell(&["resize-window", "-x", "120"]);
    std::thread::sleep(Duration::from_secs(1));
    let wide = terminal.rows();
    assert_eq!(wide.iter().filter(|row| row.contains(" running, ")).count(), 1, "{wide:#?}");
    terminal.tell(&["send-keys", "C-c"]);
    let end = terminal.wait("its end", |rows| has(rows, &["ended with 130"]));
    assert!(!has(&end, &[" running, "]) && !has(&end, &["sleep 600"]) && !has(&end, &["^C"]), "{end:#?}");
    assert!(!has(&end, &["ailed"]) && has(&end, &[" (2 interrupted)"]), "{end:#?}");
    assert!(has(&end, &["error: interrupted (1 pushed): a re-run continues"]), "{end:#?}");
}

#[test]
fn all_that_is_printed_is_shown_after_the_jobs_name() {
    let dockerfile = "FROM busybox:1.37\nRUN echo '::add-mask::x'; echo 'two words'\n";
    let tree = Tree::new(&[("jobs/a/Dockerfile", dockerfile), ("jobs/a-b/Dockerfile", dockerfile)]);
    let registry = Registry::start();
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["build", "--arch", OWN, "--no-cache", "--output", "stream"], &env).ended(0);
    for job in ["a", "a-b"] {
        let start = format!("{job} {OWN} | #");
        let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with(&start)).collect();
        assert!(lines.iter().any(|line| line.ends_with(" two words")), "{}", run.stderr);
        assert!(run.stderr.contains(&format!("/jobs/{job}:<sha>-{OWN} in ")), "{}", run.stderr);
    }
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    // The base, which is resolved before, is no step.
    assert!(run.stderr.contains(", 0/1 steps cached\n"), "{}", run.stderr);
    let quiet = tree.run_with(&["build", "--arch", OWN, "--force", "--tag", "again"], &env).ended(0);
    assert!(!quiet.stderr.contains("two words"), "{}", quiet.stderr);
    assert!(quiet.stderr.contains(", 1/1 steps cached\n"), "{}", quiet.stderr);
}

#[test]
fn a_long_silence_is_broken_where_nobody_watches() {
    let tree = Tree::new(&[("jobs/slow/Dockerfile", "FROM busybox:1.37\nRUN echo begun && sleep 65\n")]);
    let registry = Registry::start();
    let env = [("JOBS_REGISTRY", registry.address.as_str())];
    let run = tree.run_with(&["build", "--arch", OWN, "--no-cache"], &env).ended(0);
    let told = run.stderr.lines().find(|line| line.trim_start().starts_with("Building (0/1) slow")).unwrap_or_default();
    assert!(told.contains("] RUN echo begun && sleep 65"), "{}", run.stderr);
}
