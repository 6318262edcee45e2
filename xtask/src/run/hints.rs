//! Remedies for what other programs are known to say. Their own words stay in the message.

/// What registries say to those who are not logged in, or not any more. (ECR says the last with 403.)
const UNAUTHORIZED: [&str; 5] = [
    "401 Unauthorized",
    "no basic auth credentials",
    "authorization failed",
    "authentication required",
    "authorization token has expired",
];

/// Whether a registry asks for a login.
pub fn is_unauthorized(said: &str) -> bool {
    UNAUTHORIZED.iter().any(|text| said.contains(text))
}

/// What to do about a known text, if it is known.
pub fn help_for(said: &str) -> Option<&'static str> {
    const HINTS: [(&[&str], &str); 13] = [
        (
            &[
                "Cannot connect to the Docker daemon",
                "failed to connect to the docker API",
                "docker daemon is not running",
            ],
            "start the engine: cargo xtask setup",
        ),
        (&["unknown command: docker buildx", "'buildx' is not a docker command"], "install buildx: cargo xtask setup"),
        (&["exec format error"], "this builder cannot run that architecture: cargo xtask setup installs emulation"),
        (&UNAUTHORIZED, "log in to the registry: cargo xtask login"),
        (
            &["403 Forbidden", "access denied", "insufficient_scope", "denied:"],
            "ask for the right to push and pull there",
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
        (&["connection refused"], "nothing listens there: cargo xtask setup starts the loopback registry"),
        (&["permission denied while trying to connect"], "join the group `docker`, or use sudo"),
    ];
    HINTS.iter().find(|(texts, _)| texts.iter().any(|text| said.contains(text))).map(|&(_, help)| help)
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
    }
}
