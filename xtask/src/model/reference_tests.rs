use super::*;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn references_round_trip() {
    for text in [
        "jobs/job-a:abc1234-arm64".to_owned(),
        "127.0.0.1:5000/jobs/job-a:abc1234".to_owned(),
        format!("111122223333.dkr.ecr.eu-west-1.amazonaws.com/jobs/job-a@{DIGEST}"),
        format!("localhost/x:v1@{DIGEST}"),
        "a__b/c---d".to_owned(),
    ] {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
    }
    let no_names = ["-a", "a-", ".a", "a..b", "a___b", "a.-b", "host.example/-a", "host.example:+80/a"];
    for text in ["", ":x", "Foo", "a//b", "x@sha256:12", "host.example/", "a b"].iter().chain(&no_names) {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
}

#[test]
fn docker_shorthands_are_filled_in() {
    for (short, full) in [
        ("busybox", "docker.io/library/busybox:latest".to_owned()),
        ("docker.io/busybox:1.37", "docker.io/library/busybox:1.37".to_owned()),
        ("index.docker.io/busybox:1.37", "docker.io/library/busybox:1.37".to_owned()),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7".to_owned()),
        ("quay.io/x/y", "quay.io/x/y:latest".to_owned()),
        ("localhost:5000/x", "localhost:5000/x:latest".to_owned()),
        (&format!("busybox@{DIGEST}"), format!("docker.io/library/busybox@{DIGEST}")),
    ] {
        assert_eq!(Reference::normalized(short).unwrap().to_string(), full);
    }
}

#[test]
fn registries_are_hosts() {
    for host in ["127.0.0.1:5000", "localhost", "ghcr.io", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "reg:5000"] {
        assert_eq!(host.parse::<Registry>().unwrap().to_string(), host);
    }
    let message = |text: &str| text.parse::<Registry>().unwrap_err().to_string();
    assert_eq!(message("https://ghcr.io/"), "registry `https://ghcr.io/`: has a scheme\n  help: write `ghcr.io`");
    assert_eq!(message("ghcr.io/"), "registry `ghcr.io/`: ends in `/`\n  help: write `ghcr.io`");
    assert_eq!(
        message("ghcr.io/acme"),
        "registry `ghcr.io/acme`: has a path\n  help: write `ghcr.io`, and put `acme` into `prefix`"
    );
    assert_eq!(message("GHCR.io"), "registry `GHCR.io`: has upper-case letters\n  help: write `ghcr.io`");
    assert_eq!(
        message("me:pw@ghcr.io"),
        "registry `…@ghcr.io`: carries a user name\n  help: write `ghcr.io`, and use `docker login ghcr.io`"
    );
    assert_eq!(
        message("registry"),
        "registry `registry`: has neither a domain nor a port, so Docker Hub would be meant\n  \
         help: give a host such as `registry.example.com:5000`"
    );
    assert_eq!(
        message("1234.dkr.ecr.eu-west-1.amazonaws.com"),
        "registry `1234.dkr.ecr.eu-west-1.amazonaws.com`: `1234` is not an AWS account\n  rule: an account is 12 digits\n  \
         help: mend it, as in 111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    );
    assert!(message("").contains("empty"));
    for text in ["@", "https://", "/", "me:pw@/x", "https:///x"] {
        assert!(
            message(text).ends_with("names no host\n  help: give a host such as `127.0.0.1:5000`, or leave it unset")
        );
    }
    assert!(message("a.b:x").contains("port") && message("a.b:+80").contains("port"));
    assert!(message("a_b.c").contains("not a host name"));
}

#[test]
fn ecr_hosts_tell_account_and_region() {
    let ecr = |host: &str| host.parse::<Registry>().unwrap().ecr().map(|(a, r)| (a.to_owned(), r.to_owned()));
    let here = Some(("111122223333".to_owned(), "eu-west-1".to_owned()));
    assert_eq!(ecr("111122223333.dkr.ecr.eu-west-1.amazonaws.com"), here);
    assert_eq!(ecr("111122223333.dkr.ecr-fips.eu-west-1.amazonaws.com"), here);
    assert_eq!(ecr("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn").unwrap().1, "cn-north-1");
    assert_eq!(ecr("ghcr.io"), None);
}

#[test]
fn loopback_is_this_machine() {
    let here = [("127.0.0.1:5000", true), ("127.1.2.3", true), ("localhost:80", true)];
    let elsewhere = [("ghcr.io", false), ("127.0.0.1.example.com", false), ("127.example.com:80", false)];
    for (host, loopback) in here.into_iter().chain(elsewhere) {
        assert_eq!(host.parse::<Registry>().unwrap().is_loopback(), loopback, "{host}");
    }
}

#[test]
fn tags_of_images_leave_room_for_the_architecture() {
    for tag in ["abc1234", "v1.2.3", "_x", "pr-12-abc1234", "abc1234-dirty", &"x".repeat(122)] {
        assert_eq!(Tag::for_images(tag).unwrap().to_string(), *tag);
    }
    for tag in ["", ".x", "-x", "feature/x", "1.0+b", "a:b", "a@b", "a\n", "x-arm64", "x-amd64", &"x".repeat(123)] {
        assert!(Tag::for_images(tag).is_err(), "{tag:?}");
    }
    assert_eq!(
        Tag::for_images("v1-arm64").unwrap_err().to_string(),
        "tag `v1-arm64`: ends in `-arm64`\n  rule: a tag does not end in `-amd64` or `-arm64`: the images of one architecture do\n  help: give another with --tag or JOBS_TAG"
    );
    assert_eq!(
        Tag::for_images(&"x".repeat(123)).unwrap_err().rule.unwrap(),
        "at most 122: an architecture's suffix is added, and 128 is the limit"
    );
    assert_eq!(
        Tag::for_images("cache").unwrap_err().to_string(),
        "tag `cache`: its images would stand where layers are kept\n  rule: `cache-amd64` and `cache-arm64` are the tags \
         of caches\n  help: give another with --tag or JOBS_TAG"
    );
    assert_eq!(
        Tag::for_images("feature/x").unwrap_err().to_string(),
        "tag `feature/x`: not a valid tag\n  rule: a letter, digit or '_', then at most 127 more of them or '.' or '-'\n  \
         help: give another with --tag or JOBS_TAG, e.g. `feature-x`"
    );
    // The nearest one is not offered where it would be refused too.
    for text in ["feature/x-arm64", "/cache"] {
        assert_eq!(Tag::for_images(text).unwrap_err().help.unwrap(), "give another with --tag or JOBS_TAG", "{text}");
    }
}

#[test]
fn a_repository_has_the_grammar_of_ecr_and_a_longest_name() {
    let new = |name: &str| Repository::new(Some("ghcr.io".parse().unwrap()), name);
    assert_eq!(new("jobs/job-a").unwrap().to_string(), "ghcr.io/jobs/job-a");
    for name in ["jobs/Job", "jobs//a", "/a", "a--b", "a__b", "a..b", "a-", "-a", ""] {
        assert!(new(name).is_err(), "{name:?}");
    }
    assert!(new(&"a".repeat(247)).is_ok());
    assert_eq!(new(&"a".repeat(248)).unwrap_err().rule.unwrap(), "registry, prefix and name have at most 255 together");
}

#[test]
fn a_digest_is_sha256_and_64_hex_digits() {
    assert_eq!(DIGEST.parse::<Digest>().unwrap().short(), "sha256:0123456789ab");
    for text in ["", "sha256:", "sha256:ABC", &DIGEST.to_uppercase(), "sha512:00"] {
        assert!(text.parse::<Digest>().is_err(), "{text:?}");
    }
}
