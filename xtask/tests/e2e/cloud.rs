//! AWS and GitHub as a workflow meets them, on loopback: ECR and STS are moto's, the token's issuer is our own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::{TempDir, free_port, python_programs};

/// The token that a job asks for identity tokens with.
pub const BEARER: &str = "bearer-0a1b2c3d4e5f60718293";
/// The identity token, such as GitHub signs it since subjects hold ids: of workflow `images.yml` of repository 22.
pub const JWT: &str = concat!(
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tI",
    "iwiYXVkIjoic3RzLmFtYXpvbmF3cy5jb20iLCJzdWIiOiJyZXBvOm9AMTEvckAyMjpyZWY6cmVmcy9oZWFkcy9tYWl",
    "uIiwicmVwb3NpdG9yeV9pZCI6IjIyIiwiam9iX3dvcmtmbG93X3JlZiI6Im8vci8uZ2l0aHViL3dvcmtmbG93cy9pb",
    "WFnZXMueW1sQHJlZnMvaGVhZHMvbWFpbiJ9.c2lnbmF0dXJlLW9mLXRlc3Q",
);
/// ECR's password for who has assumed a role of account 111122223333, and its hash.
pub const ROLE_PASSWORD: (&str, &str) =
    ("111122223333-auth-token", "$2b$04$ITb6a5puaD6l7gPRDwqklOz92ou26VVO9YSggqMcBYY12FKCyqnga");
/// ECR's password for moto's own account, and its hash.
pub const OWN_PASSWORD: (&str, &str) =
    ("123456789012-auth-token", "$2b$04$AehuzTzwKVIno.kBDI5TOOmbsCJcW2RRwNuDWUgtM7/4232EKf5s.");
/// A password of a registry that is not ECR's, and its hash.
pub const PLAIN_PASSWORD: (&str, &str) =
    ("correct-horse-battery", "$2b$04$l7D.8YA.P2COPNrddQvrKeXuhDz9dyLL5e.NP7E87lGB/fUjOANJ6");

/// A manifest whose target is ECR's: by its role, because its registry has to be on loopback.
pub fn manifest(registry: &str) -> String {
    format!(
        "[workspace]\n[workspace.metadata.jobs.targets.staging]\nrefs = [\"refs/heads/main\"]\n\
         registry = \"{registry}\"\nregion = \"eu-west-1\"\nrole = \"arn:aws:iam::111122223333:role/jobs-push\"\n\
         moving-tags = [\"latest\"]\n"
    )
}

/// ECR and STS on a free port.
pub struct Aws {
    child: Child,
    address: String,
}

impl Aws {
    pub fn start() -> Aws {
        Aws::with_env(&[])
    }

    /// With variables that moto reads.
    pub fn with_env(env: &[(&str, &str)]) -> Aws {
        let port = free_port();
        let child = Command::new(python_programs().join("moto_server"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let aws = Aws { child, address: format!("127.0.0.1:{port}") };
        let start = Instant::now();
        while TcpStream::connect(&aws.address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        aws
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The issuer of identity tokens. It answers slowly, so that who asks can be watched,
/// and a request that is not as GitHub wants it gets its own header back.
pub struct Issuer {
    pub url: String,
    /// The first line of every request.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    pub fn start() -> Issuer {
        Issuer::of(BEARER, JWT)
    }

    /// One that gives this identity token to who asks with that other one.
    pub fn of(bearer: &'static str, token: &'static str) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token?api-version=2.0", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // It ends with the process: nothing but this thread holds the port.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, &seen, bearer, token);
            }
        });
        Issuer { url, asked }
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>, bearer: &str, token: &str) -> std::io::Result<()> {
    let lines: Vec<String> =
        BufReader::new(stream.try_clone()?).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    seen.lock().unwrap().push(lines.first().cloned().unwrap_or_default());
    std::thread::sleep(Duration::from_millis(300));
    let header = lines.iter().find(|line| line.to_lowercase().starts_with("authorization:")).cloned();
    let entitled = header.as_deref() == Some(&format!("Authorization: bearer {bearer}"));
    let for_sts = lines.first().is_some_and(|line| line.contains("&audience=sts.amazonaws.com "));
    let (status, body) = if entitled && for_sts {
        ("200 OK", format!("{{\"count\":1,\"value\":\"{token}\"}}"))
    } else {
        ("403 Forbidden", format!("no: {header:?}"))
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Watches what every user of the machine can see of the processes, whose environment holds a text, and which files a
/// folder holds for a moment.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// Command lines, their arguments separated by a space.
    pub commands: Vec<String>,
    /// The command lines of those whose environment holds the text.
    pub holders: Vec<String>,
    /// Files of the folder, with their permissions.
    pub files: Vec<(PathBuf, u32)>,
}

impl Watch {
    pub fn start(folder: &Path, text: &'static str) -> Watch {
        let (stop, folder) = (Arc::new(AtomicBool::new(false)), folder.to_owned());
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::Relaxed) {
                look(&mut seen, &folder, text);
                // Far shorter than any program lives, and the processor is for them.
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        Watch { stop, thread }
    }

    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(seen: &mut Seen, folder: &Path, text: &str) {
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if !seen.holders.contains(&line) && String::from_utf8_lossy(&environment).contains(text) {
            seen.holders.push(line.clone());
        }
        if !line.is_empty() && !seen.commands.contains(&line) {
            seen.commands.push(line);
        }
    }
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let Ok(metadata) = file.metadata() else { continue };
        let found = (file.path(), metadata.permissions().mode() & 0o7777);
        if !seen.files.contains(&found) {
            seen.files.push(found);
        }
    }
}

/// A folder of programs that stand before all others.
pub struct Programs(TempDir);

impl Programs {
    pub fn new() -> Programs {
        Programs(TempDir::new())
    }

    /// A shell script under a program's name.
    pub fn script(self, name: &str, text: &str) -> Programs {
        let path = self.0.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// The program of this machine.
    pub fn link(self, name: &str) -> Programs {
        let path = std::env::var("PATH").unwrap();
        // cargo's own path, because what stands on PATH may be a launcher that wants its own name and folder.
        let cargo = (name == "cargo").then(|| PathBuf::from(std::env::var("CARGO").unwrap()));
        let found = cargo.or_else(|| path.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()));
        std::os::unix::fs::symlink(found.unwrap(), self.0.0.join(name)).unwrap();
        self
    }

    /// These programs alone.
    pub fn alone(&self) -> String {
        self.0.0.to_str().unwrap().to_owned()
    }

    /// These, then the AWS client, then the machine's.
    pub fn first(&self) -> String {
        format!("{}:{}", self.alone(), path_with_client())
    }
}

/// The machine's programs behind those of the virtual environment.
pub fn path_with_client() -> String {
    format!("{}:{}", python_programs().display(), std::env::var("PATH").unwrap())
}

/// The files below a folder whose text holds one of these, but for those of this name.
pub fn files_with(folder: &Path, texts: &[&str], except: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.append(&mut files_with(&path, texts, except));
        } else if !path.ends_with(except) {
            let mut bytes = Vec::new();
            let _ = std::fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
            let text = String::from_utf8_lossy(&bytes);
            found.extend(texts.iter().any(|secret| text.contains(secret)).then_some(path));
        }
    }
    found
}
