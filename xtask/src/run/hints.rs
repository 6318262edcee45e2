//! Remedies for what other programs are known to say. Their own words stay in the message.

/// What registries say when there is no login, or when it has expired. (ECR says the last with 403.)
/// Of an answer in JSON, BuildKit keeps the code alone: `failed to push x: unauthorized`.
const UNAUTHORIZED: [&str; 6] = [
    "401 Unauthorized",
    "no basic auth credentials",
    "authorization failed",
    "authentication required",
    "authorization token has expired",
    ": unauthorized",
];

/// What programs written in Go say of a port that nobody listens on, and what curl says.
pub const REFUSED: [&str; 3] = ["connection refused", "Couldn't connect to server", "Could not connect to server"];
/// How both name a port of this machine, as in `dial tcp 127.0.0.1:5000: connect: connection refused`.
const LOOPBACK: [&str; 5] =
    ["dial tcp 127.", "dial tcp [::1]:", "connect to 127.", "connect to ::1", "connect to localhost"];

/// What a registry answers that is out of order itself, the last as BuildKit shortens an answer in JSON.
const SERVER_ERRORS: [&str; 6] = [
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "507 Insufficient Storage",
    ": unavailable",
];

/// Whether a program says that it cannot reach whom it asks, in the words of programs written in Go.
pub fn is_out_of_reach(said: &str) -> bool {
    const OUT_OF_REACH: [&str; 7] =
        ["dial tcp", "no such host", "i/o timeout", "proxyconnect", "deadline exceeded", "TUF", "Sigstore verifiers"];
    REFUSED.iter().chain(&OUT_OF_REACH).any(|text| said.contains(text))
}

/// Whether a registry says that a tag cannot change; a name that stands in an address says nothing.
pub fn is_immutable(said: &str) -> bool {
    said.split_whitespace().any(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/') == "immutable")
}

/// Whether a registry asks for a login.
pub fn is_unauthorized(said: &str) -> bool {
    // The answer to a HEAD has no body, so ECR cannot say there that a login has expired.
    let is_bare = |line: &str| line.trim_end().ends_with("403 Forbidden");
    UNAUTHORIZED.iter().any(|text| said.contains(text)) || said.lines().any(is_bare)
}

/// What programs say, and what to do about it.
const HINTS: [(&[&str], &str); 19] = [
    (
        &["Cannot connect to the Docker daemon", "failed to connect to the docker API", "docker daemon is not running"],
        "start the engine: cargo xtask setup",
    ),
    (&["unknown command: docker buildx", "'buildx' is not a docker command"], "install buildx: cargo xtask setup"),
    (&["exec format error"], "this builder cannot run that architecture: cargo xtask setup installs emulation"),
    (
        &["permission denied while trying to connect"],
        "join the group `docker`, and log in again: sudo usermod --append --groups docker \"$USER\"",
    ),
    (&["no space left on device"], "make room: docker builder prune"),
    (&UNAUTHORIZED, "log in to the registry: cargo xtask login"),
    (
        &["exceeds the maximum allowed number of tags"],
        "ECR lets an image have 1,000 tags: delete some that nobody uses with `aws ecr batch-delete-image`",
    ),
    (
        &["more than the manifest promised"],
        "ask whoever runs the registry, or a proxy before it, what changes its answers",
    ),
    (
        &["RepositoryNotFoundException", "does not exist in the registry with id"],
        "create the repository before the first push: cargo xtask ecr ensure",
    ),
    (
        &["name unknown", "NAME_UNKNOWN", "repository name not known"],
        "the registry does not make repositories by itself: create it before the first push",
    ),
    (
        &["403 Forbidden", "access denied", "insufficient_scope", "denied:", ": denied"],
        "ask for the right to push and pull there",
    ),
    (&["pull rate limit"], "log in to the registry, or configure a mirror"),
    (
        &["toomanyrequests", "429 Too Many Requests"],
        "the registry takes no more requests for now: try again later, or build fewer images at a time (--parallel)",
    ),
    (&SERVER_ERRORS, "the registry is in trouble, and not the name or the login: try again later"),
    (&["x509:", "certificate signed by unknown authority"], "trust the registry's certificate on the builder"),
    (
        &["server gave HTTP response to HTTPS client"],
        "the registry speaks plain HTTP, which is for this machine alone: use 127.0.0.1",
    ),
    (
        &["no such host", "Could not resolve host"],
        "is the registry's name right? behind a closed network, configure `mirrors`",
    ),
    (&REFUSED, "check that the registry's address is right, and that it can be reached from here"),
    (
        &[": EOF", "unexpected EOF", "connection reset by peer", "broken pipe"],
        "the registry, or a proxy before it, ended the connection: try again later, or ask whoever runs it",
    ),
];

/// What to do about what a registry of ECR says.
const HINTS_OF_ECR: [(&[&str], &str); 2] = [
    (
        &["Rate exceeded", "429 Too Many Requests"],
        "ECR takes ten manifests a second of an account: build fewer images at a time, or have AWS raise that quota",
    ),
    (&[": EOF"], "is the repository there? ECR ends the connection where it is not: cargo xtask ecr ensure"),
];

/// What programs say, in a word or more, and what to do about it: for the reference.
#[cfg(test)]
pub fn hints() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    HINTS.iter().chain(&HINTS_OF_ECR).map(|(texts, help)| (texts.to_vec(), *help))
}

/// What to do about a text, if it is known. It names the registry that it is about.
pub fn help_for(said: &str) -> Option<&'static str> {
    let says = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    // A private registry; `public.ecr.aws` has other limits, and answers.
    let is_ecr = said.contains(".dkr.ecr") && said.contains(".amazonaws.com");
    let of_ecr = HINTS_OF_ECR.iter().filter(|_| is_ecr);
    of_ecr.chain(&HINTS).find(|(texts, _)| says(texts)).map(|&(texts, help)| match texts {
        _ if texts == REFUSED && says(&LOOPBACK) => {
            "nothing listens there: cargo xtask setup starts the loopback registry"
        }
        _ => help,
    })
}

/// What buildx ends with: its last `ERROR:`, and the lines below it that belong to it. An answer in JSON may leave no
/// more than its code in there, as in `failed to push x: unknown`; then the status of the last attempt is added.
pub fn last_error(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.iter().rposition(|line| line.starts_with("ERROR: "))?;
    let first = lines[start].trim_start_matches("ERROR: ").trim();
    let goes_on = first.ends_with("errors:") || first.contains("unexpected status from ");
    let below = lines[start + 1..].iter().map(|line| line.trim()).take_while(|line| !line.is_empty() && goes_on);
    let below: Vec<&str> = below.collect();
    let said = match first.strip_suffix(':').unwrap_or(first) {
        _ if below.is_empty() => first.to_owned(),
        start => format!("{start}: {}", below.join("; ")),
    };
    let status = status_of_push(&lines[..start]).filter(|status| !said.contains(status));
    Some(status.map_or_else(|| said.clone(), |status| format!("{said}: {status}")))
}

/// The status in the last words of a push, which buildx repeats before its error: `7.071 error: unexpected status from
/// PUT request to …: 503 Service Unavailable`. What a step of the Dockerfile has printed is none.
fn status_of_push<'a>(log: &[&'a str]) -> Option<&'a str> {
    let heading = log.iter().rposition(|line| line.starts_with(" > "))?;
    let is_push = [" > exporting to image:", " > pushing "].iter().any(|start| log[heading].starts_with(start));
    let status = |line: &&'a str| {
        let (_, status) = line.split_once(" error: ")?.1.split_once("unexpected status from ")?.1.rsplit_once(": ")?;
        status.split(' ').next()?.parse::<u16>().ok().map(|_| status)
    };
    log[heading..].iter().rev().filter(|_| is_push).find_map(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_cannot_change_is_not_a_name() {
        assert!(is_immutable("cannot be overwritten because the tag is immutable."));
        assert!(is_immutable("tag invalid: the image tag \"x\" is already there: (immutable)"));
        assert!(!is_immutable("unexpected status from HEAD request to https://r/v2/immutable-x/a: 403 Forbidden"));
        assert!(!is_immutable("failed to push r/immutable/x:1: denied"));
    }

    #[test]
    fn known_texts_have_a_remedy() {
        const LOGIN: &str = "log in to the registry: cargo xtask login";
        const RIGHT: &str = "ask for the right to push and pull there";
        const THROTTLED: &str = "the registry takes no more requests for now: try again later, or build fewer images at a time (--parallel)";
        const TROUBLE: &str = "the registry is in trouble, and not the name or the login: try again later";
        const CUT: &str =
            "the registry, or a proxy before it, ended the connection: try again later, or ask whoever runs it";
        for (said, help) in [
            (
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
                "start the engine: cargo xtask setup",
            ),
            ("r.example/a:1: 401 Unauthorized", LOGIN),
            ("r.example/a:1: unauthorized", LOGIN),
            ("r.example/a:1: unauthorized: incorrect username or password", LOGIN),
            ("r.example/a:1: denied", RIGHT),
            ("r.example/a:1: denied: no", RIGHT),
            ("r.example/a:1: 403 Forbidden: no", RIGHT),
            (
                "r.example/a:1: unknown: repository name not known to registry",
                "the registry does not make repositories by itself: create it before the first push",
            ),
            ("r.example/a:1: toomanyrequests: Rate exceeded", THROTTLED),
            ("r.example/a:1: unexpected status from POST request to x: 429 Too Many Requests: slow", THROTTLED),
            (
                "docker.io/a:1: toomanyrequests: You have reached your unauthenticated pull rate limit.",
                "log in to the registry, or configure a mirror",
            ),
            ("r.example/a:1: unknown: 500 Internal Server Error", TROUBLE),
            ("r.example/a:1: 502 Bad Gateway", TROUBLE),
            ("r.example/a:1: unavailable", TROUBLE),
            ("Post \"https://r.example/v2/a/blobs/uploads/?mount=sha256:0&from=b\": EOF", CUT),
            ("r.example/a:1: EOF", CUT),
            ("Put \"https://r.example/v2/a/manifests/1\": read: connection reset by peer", CUT),
        ] {
            assert_eq!(help_for(said), Some(help), "{said}");
        }
        assert_eq!(help_for("something new"), None);
    }

    #[test]
    fn what_ecr_means_is_told_of_ecr_alone() {
        for host in
            ["111122223333.dkr.ecr.eu-west-1.amazonaws.com", "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com"]
        {
            let help = |said: &str| help_for(&format!("{host}/jobs/a:1: {said}")).unwrap_or_default();
            let upload = format!("failed to do request: Post \"https://{host}/v2/jobs/a/blobs/uploads/\": EOF");
            assert!(help(&upload).starts_with("is the repository there?"));
            assert!(help("toomanyrequests: Rate exceeded").starts_with("ECR takes ten manifests a second"));
            assert!(help("unexpected status from PUT request to x: 429 Too Many Requests").starts_with("ECR takes"));
            assert!(help("unexpected status from PUT request to x: 503 Service Unavailable").contains("in trouble"));
        }
    }

    #[test]
    fn the_last_error_tells_what_the_registry_answered() {
        let log = "#5 ERROR: failed to push x: unknown\n------\n > exporting to image:\n\
                   3.1 error: unexpected status from POST request to http://x/: 502 Bad Gateway\n3.1 retrying in 4s\n\
                   7.1 error: unexpected status from POST request to http://x/: 500 Internal Server Error\n\
                   7.1 unknown\n------\nERROR: failed to solve: failed to push x: unknown\n";
        let said = |log: &str| last_error(log).unwrap();
        assert_eq!(said(log), "failed to solve: failed to push x: unknown: 500 Internal Server Error");
        let twice = log.replace("push x: unknown", "push x: y: 500 Internal Server Error");
        assert_eq!(said(&twice), "failed to solve: failed to push x: y: 500 Internal Server Error");
        // What a build has printed tells nothing of a registry.
        assert_eq!(
            said(&log.replace("exporting to image", "[2/2] RUN x")),
            "failed to solve: failed to push x: unknown"
        );
        let merge = "------\n > [internal] pushing x:1:\n0.1 pushing sha256:0 to x:1\n------\n\
                     ERROR: failed commit: unexpected status from PUT request to http://x/: 403 Forbidden\ndenied\n";
        let commit = "failed commit: unexpected status from PUT request to http://x/: 403 Forbidden: denied";
        assert_eq!(said(merge), commit);
        let several = "ERROR: failed to push x: errors:\nunknown: provided digest did not match uploaded content\n\
                       unknown: blob unknown to registry - sha256:90a4\n\nView build details: x\n";
        let errors = "failed to push x: errors: unknown: provided digest did not match uploaded content; unknown: blob \
                      unknown to registry - sha256:90a4";
        assert_eq!(said(several), errors);
        assert_eq!(said("ERROR: process \"x\nView build details: x\n"), "process \"x");
        assert_eq!(last_error("no ERROR: here"), None);
    }

    #[test]
    fn the_loopback_registry_is_the_remedy_for_loopback_addresses_alone() {
        let start = Some("nothing listens there: cargo xtask setup starts the loopback registry");
        for here in [
            "Head \"http://localhost:5000/v2/x\": dial tcp 127.0.0.1:5000: connect: connection refused",
            "dial tcp [::1]:5000: connect: connection refused",
            "curl: (7) Failed to connect to 127.0.0.1 port 5000 after 0 ms: Couldn't connect to server",
        ] {
            assert_eq!(help_for(here), start, "{here}");
        }
        let check = Some("check that the registry's address is right, and that it can be reached from here");
        for elsewhere in [
            "Head \"https://r.example.com/v2/x\": dial tcp 10.0.0.5:443: connect: connection refused",
            "curl: (7) Failed to connect to r.example.com port 443 after 2 ms: Couldn't connect to server",
        ] {
            assert_eq!(help_for(elsewhere), check, "{elsewhere}");
        }
    }
}
