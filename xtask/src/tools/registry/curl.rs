//! curl: many requests by one process, which is told all of them over its stdin, credentials included.
//! Proxies and certificates are curl's own matter (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`).

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;

use super::answer::words;
use crate::model::Registry;
use crate::run::{Context, Secret, Tries, count, is_transient_status};
use crate::tools::process::{self, End, Limit, Options};

/// How many requests are under way at once. A loopback registry answers no faster to more; with 50 ms of latency, 32
/// are 640 a second, and ECR takes more than that of no client.
const PARALLEL: usize = 32;
/// How many requests one process is given: its time limit is for all of them together, and far more than they need.
const LARGEST_BATCH: usize = 4_000;
/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The options of a request whose answer goes to a file, and which may take its time as long as something comes.
const DOWNLOAD_OPTIONS: &str = "speed-limit = 1000\nspeed-time = 30\n";
/// The largest answer that is read, in bytes: the specification's limit for a manifest.
const LARGEST_BODY: usize = 4 << 20;

/// curl's exit codes for what may pass by itself: connections that broke off, took too long, or were refused.
const PASSING: [u8; 8] = [16, 18, 52, 55, 56, 92, TIMED_OUT, REFUSED];
/// curl's exit code for an answer that is larger than it may be.
const TOO_LARGE: u8 = 63;
/// curl's exit code for a server that took longer than it may.
const TIMED_OUT: u8 = 28;

/// curl's exit code for a server that nobody is at.
const REFUSED: u8 = 7;

/// The options of each request.
const OPTIONS: &str = "silent\ngloboff\nsuppress-connect-headers\nuser-agent = \"cargo-xtask-jobs\"\n";
/// How many redirects are followed: blobs are often elsewhere, and manifests may have moved.
const MOST_REDIRECTS: usize = 5;

/// One request.
#[derive(Clone)]
pub struct Request {
    pub url: String,
    /// What kinds of answers are taken, for `Accept`.
    pub accept: &'static str,
    /// A line of curl's configuration that says who asks.
    pub credentials: Option<Secret>,
    /// Further lines that say what is asked, such as `head`.
    pub more: String,
    /// Where the body goes, if it may be too large to be kept in mind.
    pub to: Option<Utf8PathBuf>,
}

/// What came of a request, whatever the status.
#[derive(Debug)]
pub struct Response {
    /// The other server that it comes from, where the registry sent on to one.
    pub from: Option<String>,
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The values of a header, whose name is given in lower case.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Makes all requests, and follows where they are sent on to. curl could do that too, but cannot tell the plain HTTP of
/// this machine from that of others.
///
/// # Errors
/// curl cannot be started, or its files cannot be read. For each request there is an answer, or curl's words for why
/// there is none.
pub fn fetch(ctx: &Context, requests: &[Request]) -> anyhow::Result<Vec<Result<Response, String>>> {
    let (asked, mut requests) = (requests, requests.to_vec());
    let mut results = make(ctx, &requests)?;
    for hop in 0..=MOST_REDIRECTS {
        let mut sent_on = Vec::new();
        for i in 0..results.len() {
            match results[i].as_ref().ok().and_then(|response| redirected(&requests[i], response)) {
                Some(Ok(_)) if hop == MOST_REDIRECTS => results[i] = Err("redirects in a circle".to_owned()),
                Some(Ok(request)) => {
                    requests[i] = request;
                    sent_on.push(i);
                }
                Some(Err(why)) => results[i] = Err(why),
                None => {}
            }
        }
        if sent_on.is_empty() {
            break;
        }
        let again: Vec<Request> = sent_on.iter().map(|&i| requests[i].clone()).collect();
        for (i, result) in sent_on.into_iter().zip(make(ctx, &again)?) {
            let from = Some(origin(&requests[i].url)).filter(|now| *now != origin(&asked[i].url));
            results[i] = result.map(|response| Response { from: from.map(str::to_owned), ..response });
        }
    }
    Ok(results)
}

/// The request that a response sends on to, if it does. Another server gets no credentials.
fn redirected(request: &Request, response: &Response) -> Option<Result<Request, String>> {
    let location = response.headers("location").next().filter(|_| matches!(response.status, 301..=303 | 307 | 308))?;
    let origin = origin(&request.url);
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(Ok(Request { url: format!("{origin}{location}"), ..request.clone() }));
    }
    if !may_follow(&request.url, location) {
        return Some(Err(format!("redirects to `{location}`, which is neither HTTPS nor on this machine")));
    }
    let is_same = location.strip_prefix(origin).is_some_and(|path| path.starts_with('/'));
    let credentials = request.credentials.clone().filter(|_| is_same);
    Some(Ok(Request { url: location.to_owned(), credentials, ..request.clone() }))
}

/// The scheme and the host of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?']).map_or(url, |end| &url[..host + end])
}

/// Whether a server may send on to a URL: to HTTPS, and from this machine to this machine.
pub fn may_follow(from: &str, to: &str) -> bool {
    to.starts_with("https://") || is_here(from) && is_here(to)
}

/// Whether a URL is on this machine.
fn is_here(url: &str) -> bool {
    let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
    host.and_then(|host| host.parse::<Registry>().ok()).is_some_and(|host| host.is_loopback())
}

/// Makes all requests, and again those that may be answered in a moment.
fn make(ctx: &Context, requests: &[Request]) -> anyhow::Result<Vec<Result<Response, String>>> {
    let mut results: Vec<Result<Response, String>> = Vec::with_capacity(requests.len());
    for batch in requests.chunks(LARGEST_BATCH) {
        let all: Vec<&Request> = batch.iter().collect();
        let (mut tries, mut answers) = (Tries::new(), run(ctx, &all)?);
        loop {
            let whys = batch.iter().zip(&answers).enumerate();
            let open: Vec<_> = whys.filter_map(|(i, (asked, answer))| Some((i, why_again(asked, answer)?))).collect();
            let Some((_, (why, _))) = open.first() else { break };
            let asked = open.iter().filter_map(|(_, (_, asked))| *asked).max();
            if !tries.again(ctx, &count(open.len(), "request"), why, asked) {
                break;
            }
            let again: Vec<&Request> = open.iter().map(|(i, _)| &batch[*i]).collect();
            for ((i, _), answer) in open.into_iter().zip(run(ctx, &again)?) {
                answers[i] = answer;
            }
        }
        results.extend(answers.into_iter().map(|answer| answer.map_err(|(_, why)| why)));
    }
    Ok(results)
}

/// Why a request is worth another try, if it is, and after what time the registry wants to be asked.
fn why_again(request: &Request, answer: &Fetched) -> Option<(String, Option<Duration>)> {
    match answer {
        Ok(response) if is_transient_status(response.status) => {
            let asked = response.headers("retry-after").find_map(|seconds| seconds.parse().ok());
            Some((words(response), asked.map(Duration::from_secs)))
        }
        // What was never there on this machine has to be started.
        Err((REFUSED, _)) if is_here(&request.url) && request.url.ends_with("/v2/") => None,
        Err((code, why)) if PASSING.contains(code) => Some((why.clone(), None)),
        _ => None,
    }
}

/// An answer, or curl's exit code and words.
pub type Fetched = Result<Response, (u8, String)>;

/// A folder for what registries answer, which nobody else may read: it may be secret.
pub struct Answers(pub Utf8PathBuf);

impl Answers {
    /// A new folder in another.
    pub fn below(parent: PathBuf) -> anyhow::Result<Answers> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let name = format!("xtask-{}-{}", std::process::id(), now.as_nanos());
        let path = Utf8PathBuf::try_from(parent.join(name))?;
        // One of this name that is there already is an error, and not used.
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.to_string())?;
        Ok(Answers(path))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // What cannot be removed now will be with the other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the requests by one process. Answers go to files of a folder that is gone afterwards: they have no order.
pub fn run(ctx: &Context, requests: &[&Request]) -> anyhow::Result<Vec<Fetched>> {
    let Answers(path) = &Answers::below(std::env::temp_dir()).context("could not make a folder for temporary files")?;
    let downloads = requests.iter().any(|request| request.to.is_some());
    let limit = if downloads { ctx.timeouts.write } else { ctx.timeouts.read };
    let config = configuration(requests, path, limit);
    let secrets: Vec<&Secret> = requests.iter().filter_map(|request| request.credentials.as_ref()).collect();
    // Each request takes as long as a read may; what has not come to its turn by then has to be quick.
    let given =
        Options { stdin: Some(&config), limit: Limit::Within(2 * limit), secrets: &secrets, ..Options::default() };
    let parallel = PARALLEL.to_string();
    let outcome = process::run(
        ctx,
        |sh| cmd!(sh, "curl --disable --no-progress-meter --parallel --parallel-max {parallel} --config -"),
        &given,
    )?;
    let mut answers: Vec<Fetched> = requests.iter().map(|_| Err((0, unanswered(outcome.end, limit)))).collect();
    let said = outcome.stdout();
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok());
        let (Some(i), Some(code)) = (number(words.next()), number(words.next())) else { continue };
        let (Some(answer), Ok(code)) = (answers.get_mut(i), u8::try_from(code)) else { continue };
        *answer = match code {
            0 => read(&path.join(i.to_string()), requests[i].to.as_deref()),
            TOO_LARGE if requests[i].to.is_some() => Err((code, "sent more than the manifest promised".to_owned())),
            TOO_LARGE => Err((code, too_large())),
            TIMED_OUT => Err((code, timed_out(words.next().unwrap_or_default(), limit))),
            _ => Err((code, untimed(words.next().unwrap_or_default()))),
        };
    }
    // curl says how each request ended. If it says nothing at all, it did not begin: it may be too old.
    anyhow::ensure!(!said.is_empty() || !matches!(outcome.end, End::Failure(_)), "{outcome}");
    Ok(answers)
}

fn unanswered(end: End, limit: Duration) -> String {
    match end {
        End::Success | End::Failure(_) => "curl gave no answer".to_owned(),
        End::TimedOut(_) => End::TimedOut(limit).to_string(),
        End::Interrupted => end.to_string(),
    }
}

/// What curl is told on its stdin: the requests, parted by `next`.
fn configuration(requests: &[&Request], dir: &Utf8Path, limit: Duration) -> String {
    let mut config = String::new();
    let (connect, limit) = (CONNECT_TIMEOUT.as_secs(), limit.as_secs());
    for (i, Request { url, accept, credentials, more, to }) in requests.iter().enumerate() {
        let next = if i > 0 { "next\n" } else { "" };
        // What is on this machine is reached without TLS and without a proxy, as by docker, and nothing else is.
        let (protocol, proxy) = if url.starts_with("http:") { ("http", "noproxy = \"*\"\n") } else { ("https", "") };
        let credentials = credentials.as_ref().map_or("", |line| line.reveal());
        let answer = quoted(dir.join(i.to_string()).as_str());
        let output = match to {
            Some(to) => format!("dump-header = {answer}\noutput = {}\n{DOWNLOAD_OPTIONS}", quoted(to.as_str())),
            None => format!("include\noutput = {answer}\nmax-filesize = {LARGEST_BODY}\n"),
        };
        let _ = write!(
            config,
            "{next}{OPTIONS}connect-timeout = {connect}\nmax-time = {limit}\n\
             url = {}\n{output}proto = \"={protocol}\"\n{proxy}\
             header = \"Accept: {accept}\"\n\
             write-out = \"{i} %{{exitcode}} %{{errormsg}}\\n\"\n{credentials}\n{more}\n",
            quoted(url),
        );
    }
    config
}

/// A value for curl's configuration, on one line whatever it holds.
pub fn quoted(value: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        c => c.to_string(),
    };
    format!("\"{}\"", value.chars().map(escape).collect::<String>())
}

/// curl's words with the limit in place of the milliseconds that went by.
fn timed_out(said: &str, limit: Duration) -> String {
    match said.split_once(" timed out after ") {
        Some(("Operation", _)) => End::TimedOut(limit).to_string(),
        Some((what, _)) => format!("{what} {}", End::TimedOut(limit.min(CONNECT_TIMEOUT))),
        None => untimed(said),
    }
}

/// curl's words without the time that a connection took, which is another in each run.
fn untimed(said: &str) -> String {
    let Some((before, (took, after))) =
        said.split_once(" after ").and_then(|(b, rest)| Some((b, rest.split_once(" ms")?)))
    else {
        return said.to_owned();
    };
    if took.parse::<u32>().is_ok() { format!("{before}{after}") } else { said.to_owned() }
}

fn too_large() -> String {
    format!("sent more than {LARGEST_BODY} bytes, the limit for a manifest")
}

fn read(path: &Utf8Path, to: Option<&Utf8Path>) -> Fetched {
    let unread = |error| (0, format!("its answer could not be read: {error}"));
    let bytes = std::fs::read(path).map_err(unread)?;
    let mut response = parse(&bytes).ok_or_else(|| (0, "sent something that is not HTTP".to_owned()))?;
    if let Some(to) = to.filter(|_| response.status != 200) {
        // What the registry says instead of giving it.
        let said = File::open(to).map(|file| file.take(LARGEST_BODY as u64).read_to_end(&mut response.body));
        said.and_then(|said| said).map_err(unread)?;
    }
    // Before version 8.4, curl reads on where nobody told it the length beforehand.
    if response.body.len() > LARGEST_BODY { Err((TOO_LARGE, too_large())) } else { Ok(response) }
}

/// An answer with the heads of those before it, as of `100 Continue`.
fn parse(bytes: &[u8]) -> Option<Response> {
    let mut rest = bytes;
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, body) = (String::from_utf8_lossy(&rest[..end]), &rest[end + 4..]);
        let mut lines = head.lines();
        let status: u16 = lines.next()?.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
        if matches!(status, 100..=199) && body.starts_with(b"HTTP/") {
            rest = body;
            continue;
        }
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(header).collect();
        return Some(Response { from: None, status, headers, body: body.to_vec() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_response_is_parted_from_its_body() {
        let answer = b"HTTP/1.1 103 Early Hints\r\nLocation: x\r\n\r\n\
                       HTTP/2 200 \r\nDocker-Content-Digest: sha256:0\r\n\r\n{}";
        let response = parse(answer).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(response.headers("docker-content-digest").next(), Some("sha256:0"));
        assert_eq!(response.headers("location").next(), None);
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_none());
    }

    #[test]
    fn a_connection_that_fails_is_the_same_each_time() {
        let said = "Failed to connect to 127.0.0.1 port 1 after 3 ms: Couldn't connect to server";
        assert_eq!(untimed(said), "Failed to connect to 127.0.0.1 port 1: Couldn't connect to server");
        let timed_out = |said: &str, seconds| timed_out(said, Duration::from_secs(seconds));
        let silent = "Operation timed out after 60001 milliseconds with 0 bytes received";
        assert_eq!(timed_out(silent, 60), "timed out after 60 s");
        assert_eq!(timed_out("Connection timed out after 10001 milliseconds", 60), "Connection timed out after 10 s");
        assert_eq!(timed_out("Connection timed out after 5001 milliseconds", 5), "Connection timed out after 5 s");
        let said = "Failed to connect to 192.0.2.1 port 443 after 10002 ms: Timeout was reached";
        assert_eq!(timed_out(said, 60), "Failed to connect to 192.0.2.1 port 443: Timeout was reached");
    }

    #[test]
    fn credentials_stay_where_they_were_meant_for() {
        let request = |url: &str| Request {
            url: url.to_owned(),
            accept: "*/*",
            credentials: Some(Secret::new("user = \"u:p\"")),
            more: String::new(),
            to: None,
        };
        let to = |from: &str, location: &str| {
            let headers = vec![("location".to_owned(), location.to_owned())];
            let response = Response { from: None, status: 307, headers, body: Vec::new() };
            redirected(&request(from), &response)
                .unwrap()
                .ok()
                .map(|request| (request.url, request.credentials.is_some()))
        };
        let (here, there) = ("http://127.0.0.1:5000/v2/a", "https://r.example/v2/a");
        let url = |url: &str, keeps: bool| Some((url.to_owned(), keeps));
        assert_eq!(to(there, "/v2/b"), url("https://r.example/v2/b", true));
        assert_eq!(to(there, "https://r.example/b"), url("https://r.example/b", true));
        assert_eq!(to(there, "https://r.example.org/b"), url("https://r.example.org/b", false));
        assert_eq!(to(there, "https://r.example:444/b"), url("https://r.example:444/b", false));
        assert_eq!(to(here, "http://127.0.0.1:5001/b"), url("http://127.0.0.1:5001/b", false));
        for (from, location) in [
            (here, "http://10.0.0.1/b"),
            (here, "http://127.0.0.1.example.com/b"),
            (here, "file:///etc/passwd"),
            (there, "http://127.0.0.1:5000/b"),
            (there, "http://r.example/b"),
            (there, "//r.example/b"),
        ] {
            assert_eq!(to(from, location), None, "{location}");
        }
    }

    #[test]
    fn no_value_leaves_its_line() {
        assert_eq!(quoted("a\"b\\c\nurl = x"), r#""a\"b\\c\nurl = x""#);
        let request = |url: &str| Request {
            url: url.to_owned(),
            accept: "*/*",
            credentials: Some(Secret::new("user = \"u:p\"")),
            more: "head".to_owned(),
            to: None,
        };
        let (first, second) = (request("http://127.0.0.1:5000/v2/"), request("https://r.example/v2/"));
        let text = configuration(&[&first, &second], Utf8Path::new("/tmp/x"), Duration::from_secs(60));
        let (here, elsewhere) = text.split_once("next\n").unwrap();
        assert!(here.contains("proto = \"=http\"\nnoproxy = \"*\"\n"), "{text}");
        assert!(elsewhere.contains("proto = \"=https\"\n") && !elsewhere.contains("noproxy"), "{text}");
        assert!(elsewhere.contains("output = \"/tmp/x/1\"\n"), "{text}");
        assert!(elsewhere.ends_with("user = \"u:p\"\nhead\n"), "{text}");
    }
}
