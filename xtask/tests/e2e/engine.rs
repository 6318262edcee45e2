//! Engines with a certain image store: the machine's own where it has it, else a private one beside it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::harness::TempDir;

/// Where an engine keeps its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Docker's own, the default before Docker 29: no attestations, one platform in a build, Docker's media types.
    Classic,
    /// containerd's: it holds all that a registry holds.
    Containerd,
}

/// An engine; a private one ends with the last test that uses it.
pub struct Engine {
    /// The value of `DOCKER_HOST` that leads to it.
    host: String,
    /// The program that ends the engine when its standard input is closed, and the engine's folder.
    private: Option<(Child, TempDir)>,
}

impl Engine {
    pub fn with(store: Store) -> Arc<Engine> {
        static PRIVATE: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
        if store == store_of_the_machine() {
            // Empty counts as not set.
            let host = std::env::var("DOCKER_HOST").unwrap_or_default();
            return Arc::new(Engine { host, private: None });
        }
        let mut private = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
        private.upgrade().unwrap_or_else(|| {
            let engine = Arc::new(Engine::start(store));
            *private = Arc::downgrade(&engine);
            engine
        })
    }

    /// A private engine of one test, which has built nothing yet.
    pub fn empty() -> Engine {
        Engine::start(Store::Containerd)
    }

    fn start(store: Store) -> Engine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = TempDir::new();
        let features = format!("{{\"features\": {{\"containerd-snapshotter\": {}}}}}", store == Store::Containerd);
        std::fs::write(dir.0.join("daemon.json"), features).unwrap();
        // Of addresses that are for tests of network devices (RFC 2544).
        let (name, address) = (
            format!("e2e{number}-{}", std::process::id()),
            format!("198.18.{}.1/24", (std::process::id() + number) % 256),
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/engine.sh");
        let mut command = as_root("sh");
        // In a process group of its own: Ctrl-C ends the tests, and they end the engine.
        command.arg(script).arg(&dir.0).args([&name, &address, id("-g").trim()]).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let host = format!("unix://{}/docker.sock", dir.0.display());
        let start = Instant::now();
        while !Command::new("docker").arg("version").env("DOCKER_HOST", &host).output().unwrap().status.success() {
            let log = std::fs::read_to_string(dir.0.join("dockerd.log")).unwrap_or_default();
            let ended = child.try_wait().unwrap().is_some();
            let late = start.elapsed() > Duration::from_secs(60);
            assert!(
                !ended && !late,
                "the private engine does not start (is anything missing? run `cargo xtask setup`):\n{log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Engine { host, private: Some((child, dir)) }
    }

    /// The variable by which programs find the engine.
    pub fn env(&self) -> (&str, &str) {
        ("DOCKER_HOST", &self.host)
    }

    /// Runs docker with this engine; it has to succeed.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        let output = Command::new("docker").args(args).env("DOCKER_HOST", &self.host).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.private {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// A program with the rights of root.
pub fn as_root(program: &str) -> Command {
    if id("-u").trim() == "0" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

fn id(flag: &str) -> String {
    String::from_utf8(Command::new("id").arg(flag).output().unwrap().stdout).unwrap()
}

fn store_of_the_machine() -> Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    *STORE.get_or_init(|| {
        let info = Command::new("docker").args(["info", "--format", "{{json .DriverStatus}}"]).output();
        let status = info.expect("docker is needed: run `cargo xtask setup`").stdout;
        let is_containerd = String::from_utf8_lossy(&status).contains("io.containerd.snapshotter");
        if is_containerd { Store::Containerd } else { Store::Classic }
    })
}
