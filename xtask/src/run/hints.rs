//! Remedies for what other programs are known to say. Their own words stay in the message.

/// What registries say when there is no login, or when it has expired. (ECR says the last with 403.)
const UNAUTHORIZED: [&str; 5] = [
    "401 Unauthorized",
    "no basic auth credentials",
    "authorization failed",
    "authentication required",
    "authorization token has expired",
];

/// What programs written in Go say of a port that nobody listens on, and what curl says.
const REFUSED: [&str; 3] = ["connection refused", "Couldn't connect to server", "Could not connect to server"];
/// How both name a port of this machine, as in `dial tcp 127.0.0.1:5000: connect: connection refused`.
const LOOPBACK: [&str; 5] =
    ["dial tcp 127.", "dial tcp [::1]:", "connect to 127.", "connect to ::1", "connect to localhost"];

/// Whether a program says that it cannot reach whom it asks, in the words of programs written in Go.
pub fn is_out_of_reach(said: &str) -> bool {
    const OUT_OF_REACH: [&str; 7] =
        ["dial tcp", "no such host", "i/o timeout", "proxyconnect", "deadline exceeded", "TUF", "Sigstore verifiers"];
    REFUSED.iter().chain(&OUT_OF_REACH).any(|text| said.contains(text))
}

/// Whether a registry asks for a login.
pub fn is_unauthorized(said: &str) -> bool {
    UNAUTHORIZED.iter().any(|text| said.contains(text))
}

/// What programs say, and what to do about it.
const HINTS: [(&[&str], &str); 15] = [
    (
        &["Cannot connect to the Docker daemon", "failed to connect to the docker API", "docker daemon is not running"],
        "start the engine: cargo xtask setup",
    ),
    (&["unknown command: docker buildx", "'buildx' is not a docker command"], "install buildx: cargo xtask setup"),
    (&["exec format error"], "this builder cannot run that architecture: cargo xtask setup installs emulation"),
    (&UNAUTHORIZED, "log in to the registry: cargo xtask login"),
    (
        &["exceeds the maximum allowed number of tags"],
        "ECR lets an image have 1,000 tags: delete some that nobody uses with `aws ecr batch-delete-image`",
    ),
    (&["403 Forbidden", "access denied", "insufficient_scope", "denied:"], "ask for the right to push and pull there"),
    (
        &["toomanyrequests: Rate exceeded"],
        "ECR takes ten manifests a second of an account: build fewer images at a time, or have AWS raise that quota",
    ),
    (&["toomanyrequests", "429 Too Many Requests"], "log in to the registry, or configure a mirror"),
    (&["no space left on device"], "make room: docker builder prune"),
    (
        &["name unknown", "NAME_UNKNOWN", "RepositoryNotFoundException", "does not exist in the registry with id"],
        "create the repository before the first push: cargo xtask ecr ensure",
    ),
    (&["x509:", "certificate signed by unknown authority"], "trust the registry's certificate on the builder"),
    (
        &["server gave HTTP response to HTTPS client"],
        "the registry speaks plain HTTP, which is for this machine alone: use 127.0.0.1",
    ),
    (&["no such host"], "is the registry's name right? behind a closed network, configure `mirrors`"),
    (&REFUSED, "check that the registry's address is right, and that it can be reached from here"),
    (&["permission denied while trying to connect"], "join the group `docker`, or use sudo"),
];

/// What to do about a text, if it is known.
pub fn help_for(said: &str) -> Option<&'static str> {
    if said.contains("/blobs/uploads/") && said.contains("\": EOF") {
        return Some("is the repository there? ECR ends the connection where it is not: cargo xtask ecr ensure");
    }
    let says = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    HINTS.iter().find(|(texts, _)| says(texts)).map(|&(texts, help)| match texts {
        _ if texts == REFUSED && says(&LOOPBACK) => {
            "nothing listens there: cargo xtask setup starts the loopback registry"
        }
        _ => help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_have_a_remedy() {
        let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
        assert_eq!(help_for(down), Some("start the engine: cargo xtask setup"));
        assert_eq!(help_for("failed: 401 Unauthorized"), Some("log in to the registry: cargo xtask login"));
        assert_eq!(help_for("something new"), None);
        let upload = "Post \"https://r.example/v2/jobs/a/blobs/uploads/?mount=sha256:0&from=jobs/b\": EOF";
        assert!(help_for(upload).is_some_and(|help| help.starts_with("is the repository there?")));
        assert_eq!(help_for(&upload.replace("EOF", "unexpected status")), None);
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
