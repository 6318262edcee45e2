//! The front: a server before a registry that does to a request what a hook says, and passes the others on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::proxy::{Answer, End, Proxy, Request, Upstream};

/// What is done to a request, the nth since the hook was set: its answer, or nothing, and it is passed on.
pub type Hook = dyn Fn(&Request, usize, &Passing) -> Option<Answer> + Send + Sync;

/// The way to the registry, as a hook knows it.
pub struct Passing<'a> {
    pub upstream: &'a Upstream,
    hook: &'a RwLock<Option<Arc<Hook>>>,
}

impl Passing<'_> {
    /// Waits until the hook is gone, or this is true.
    pub fn wait(&self, is_over: impl Fn() -> bool) {
        while self.hook.read().unwrap().is_some() && !is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub struct Front {
    proxy: Proxy,
    hook: Arc<RwLock<Option<Arc<Hook>>>>,
    asked: Arc<AtomicUsize>,
}

impl Front {
    pub fn of(registry: &str) -> Front {
        let (hook, asked) = (Arc::new(RwLock::new(None::<Arc<Hook>>)), Arc::new(AtomicUsize::new(0)));
        let (current, count) = (Arc::clone(&hook), Arc::clone(&asked));
        let proxy = Proxy::start(registry, move |request, upstream| {
            let nth = count.fetch_add(1, Ordering::SeqCst) + 1;
            let hook = current.read().unwrap().clone();
            let passing = Passing { upstream, hook: &current };
            hook.and_then(|hook| hook(request, nth, &passing)).unwrap_or_else(|| upstream.ask(request))
        });
        Front { proxy, hook, asked }
    }

    pub fn address(&self) -> &str {
        &self.proxy.address
    }

    pub fn set(&self, hook: impl Fn(&Request, usize, &Passing) -> Option<Answer> + Send + Sync + 'static) {
        *self.hook.write().unwrap() = Some(Arc::new(hook));
        self.asked.store(0, Ordering::SeqCst);
    }

    /// From now on, everything is passed on, also what waits.
    pub fn heal(&self) {
        *self.hook.write().unwrap() = None;
    }

    /// How much has been asked since the hook was set.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What was written after a moment.
    pub fn writes_after(&self, moment: Instant) -> Vec<String> {
        let requests = self.proxy.requests().into_iter();
        let late =
            requests.filter(|request| request.at > moment && !["GET", "HEAD"].contains(&request.method.as_str()));
        late.map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// What was asked, for who looks for the cause of a failure.
    pub fn log(&self) -> String {
        let lines = self.proxy.requests().into_iter().map(|request| format!("  {} {}\n", request.method, request.path));
        lines.collect()
    }
}

/// What requests have in common: their methods, and a pattern of paths, whose `*` stands for anything.
#[derive(Clone, Copy)]
pub struct Place {
    pub name: &'static str,
    methods: &'static [&'static str],
    path: &'static str,
}

const fn place(name: &'static str, methods: &'static [&'static str], path: &'static str) -> Place {
    Place { name, methods, path }
}

// No tag here begins with an `s`, as digests do.
pub const TAG_READ: Place = place("read of a tag", &["GET"], "*/manifests/[!s]*");
pub const LATEST_READ: Place = place("read of latest", &["GET", "HEAD"], "*/manifests/latest");
pub const MANIFEST_READ: Place = place("read of a manifest", &["GET"], "*/manifests/sha256:*");
pub const BLOB_READ: Place = place("read of a configuration", &["GET"], "*/blobs/sha256:*");
pub const HEAD: Place = place("HEAD", &["HEAD"], "*");
pub const TAG_WRITE: Place = place("write of a tag", &["PUT"], "*/manifests/[!s]*");
pub const LATEST_WRITE: Place = place("write of latest", &["PUT"], "*/manifests/latest");
pub const MANIFEST_WRITE: Place = place("write of a manifest", &["PUT"], "*/manifests/sha256:*");
pub const UPLOAD: Place = place("upload", &["POST", "PATCH", "PUT"], "*/blobs/uploads/*");

impl Place {
    pub fn is_written(&self) -> bool {
        !self.methods.contains(&"GET") && !self.methods.contains(&"HEAD")
    }

    pub fn holds(&self, request: &Request) -> bool {
        self.methods.contains(&request.method.as_str()) && glob::Pattern::new(self.path).unwrap().matches(&request.path)
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// An error with a page for people, as of a proxy.
    Page(&'static str),
    /// An error as registries word it.
    Json(&'static str),
    /// Too many requests, and how many seconds to wait.
    TooMany(Option<&'static str>),
    Cut,
    Truncated,
    /// It is done, and the answer is lost.
    Lost,
    Delay,
    Silence,
    Missing,
    NameUnknown,
    Immutable,
    /// Other bytes than were asked for, or than stood there before.
    Other,
}

/// How often something goes wrong: for the nth of such requests, and so many after it.
#[derive(Clone, Copy, PartialEq)]
pub struct Times {
    pub first: usize,
    pub count: usize,
}

pub const ONCE: Times = Times { first: 1, count: 1 };
pub const SECOND: Times = Times { first: 2, count: 1 };
pub const THRICE: Times = Times { first: 1, count: 3 };
pub const EVER: Times = Times { first: 1, count: usize::MAX };

impl Times {
    pub fn name(self) -> &'static str {
        match self {
            ONCE => "once",
            SECOND => "the second time",
            THRICE => "three times",
            _ => "for ever",
        }
    }
}

/// The hook of a fault.
pub fn rule(place: Place, fault: Fault, times: Times) -> impl Fn(&Request, usize, &Passing) -> Option<Answer> {
    let matching = AtomicUsize::new(0);
    move |request, _, passing| {
        let is_hit = place.holds(request) && {
            let nth = matching.fetch_add(1, Ordering::SeqCst) + 1;
            (times.first..times.first.saturating_add(times.count)).contains(&nth)
        };
        is_hit.then(|| fault.answer(request, passing))
    }
}

impl Fault {
    fn answer(self, request: &Request, passing: &Passing) -> Answer {
        let registry = passing.upstream;
        let error = |status: &str, code: &str, message: &str| Answer::error(status, &[], code, message);
        match self {
            Fault::Page(status) => Answer::new(status, &[("Content-Type", "text/html")], "<html>out of order</html>"),
            Fault::Json(status) => error(status, "UNKNOWN", "unknown error"),
            Fault::TooMany(after) => {
                let mut answer = error("429 Too Many Requests", "TOOMANYREQUESTS", "Rate exceeded");
                after.iter().for_each(|seconds| answer.set("Retry-After", seconds));
                answer
            }
            Fault::Cut => Answer::nothing(),
            Fault::Truncated => Answer { end: End::TooEarly, ..registry.ask(request) },
            Fault::Lost => {
                registry.ask(request);
                Answer::nothing()
            }
            Fault::Delay => {
                let until = Instant::now() + Duration::from_secs(3);
                passing.wait(|| Instant::now() > until);
                registry.ask(request)
            }
            Fault::Silence => {
                passing.wait(|| false);
                Answer::nothing()
            }
            Fault::Missing => error("404 Not Found", "MANIFEST_UNKNOWN", "manifest unknown"),
            Fault::Immutable => {
                let message = "The image tag already exists in the repository and cannot be overwritten because the \
                               repository is immutable.";
                error("400 Bad Request", "TAG_INVALID", message)
            }
            Fault::NameUnknown => error("404 Not Found", "NAME_UNKNOWN", "repository name not known to registry"),
            Fault::Other => other(registry.ask(request)),
        }
    }
}

/// The same with one more space at its end, and its own digest.
fn other(mut answer: Answer) -> Answer {
    answer.body.push(b' ');
    if answer.status.starts_with("200") {
        answer.set("Docker-Content-Digest", &crate::check::digest(&answer.body));
    }
    answer
}
