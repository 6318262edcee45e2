//! Unit tests of `inputs.rs` and `scope.rs`. Every rule was tried with BuildKit.

use std::time::{Duration, Instant};

use super::*;

fn read(text: &str, args: &[(&str, &str)]) -> Inputs {
    let args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    inputs(&Dockerfile::parse(text).unwrap(), &args, Arch::Arm64, Arch::Amd64)
}

/// The paths as `line path`, patterns with `*` and their depth after them; or the reason for all of the context.
fn told(text: &str, args: &[(&str, &str)]) -> Vec<String> {
    match read(text, args) {
        Inputs::Whole { line: Some(line), because } => vec![format!("all, line {line}: {because}")],
        Inputs::Whole { line: None, because } => vec![format!("all: {because}")],
        Inputs::Sources(paths) => paths
            .iter()
            .map(|source| match source.reach {
                Reach::Path => format!("{} {}", source.line, source.path),
                Reach::Pattern { depth: usize::MAX } => format!("{} {}* any", source.line, source.path),
                Reach::Pattern { depth } => format!("{} {}* {depth}", source.line, source.path),
            })
            .collect(),
    }
}

/// The same of one instruction in a stage from scratch.
fn one(instruction: &str) -> String {
    told(&format!("FROM scratch\n{instruction}\n"), &[]).join(", ")
}

#[test]
fn sources_of_copy_and_add() {
    for (instruction, expected) in [
        ("COPY a b/c /x/", "2 a, 2 b/c"),
        ("ADD a /x", "2 a"),
        ("COPY [\"a b\", \"/x\"]", "2 a b"),
        ("COPY /a/./b//c/ /x", "2 a/b/c"),
        ("COPY ../../a /x", "2 a"),
        ("COPY b/../a /x", "2 a"),
        ("COPY \"a\"'b' /x", "2 ab"),
        ("COPY --chown=1:1 --chmod=7 --link a /x", "2 a"),
        ("COPY --parents jobs/./a/conf /x", "2 jobs/a/conf"),
        ("COPY --exclude=a/b a /x", "2 a"),
        ("COPY --from=alpine a /x", ""),
        ("COPY --from=0 . /x", ""),
        ("COPY --from= a /x", "2 a"),
        ("COPY <<EOF a /x/\nb\nEOF", "2 a"),
        ("COPY jobs/*/conf /x", "2 jobs/* 3"),
        ("COPY a* /x", "2 a* 1"),
        ("COPY a/b? /x", "2 a/b* 2"),
        ("COPY [a-c] /x", "2 * 1"),
        ("COPY * /x", "2 * 1"),
        ("COPY a/**/b /x", "2 a/* any"),
        ("COPY [\"a\\\\\\\\*b\", \"/x\"]", "2 a* 1"),
        ("ONBUILD COPY a /x", "2 a"),
        ("ONBUILD ADD a https://x/y /x", "2 a"),
        ("ADD https://x/y http://x/y git://x/y ssh://x/y git@x.org:y/z.git a /x", "2 a"),
        ("ADD github.com/x/y a/b@c:d /x", "2 a/b@c:d, 2 github.com/x/y"),
        ("USER u", ""),
    ] {
        assert_eq!(one(instruction), expected, "{instruction}");
    }
}

#[test]
fn all_of_the_context() {
    for (instruction, expected) in [
        ("COPY . .", "`COPY .` copies the whole context"),
        ("COPY / /", "`COPY /` copies the whole context"),
        ("COPY a ./ /x", "`COPY ./` copies the whole context"),
        ("ADD a/.. /x", "`ADD a/..` copies the whole context"),
        ("COPY $NONE /x", "`COPY $NONE` copies the whole context"),
        ("COPY [\"\", \"/x\"]", "`COPY ` copies the whole context"),
        ("COPY a$PATH /x", "`COPY a$PATH`: the value of `PATH` is not known here"),
        ("COPY ${X#y} /x", "`COPY ${X#y}`: `${X#…}` is not understood here"),
        ("COPY --new a /x", "`COPY --new` is not known here"),
        ("COPY --unpack a /x", "`COPY --unpack` is not known here"),
        ("RUN --new a", "`RUN --new` is not known here"),
        ("RUN --mount=target=/x true", "`RUN --mount` mounts the whole context"),
        ("RUN --mount=type=bind,source=.,target=/x true", "`RUN --mount` mounts the whole context"),
        ("RUN --mount=type=new,target=/x true", "`RUN --mount=type=new` is not known here"),
        ("RUN --mount=type=$PATH,target=/x true", "`RUN --mount $PATH`: the value of `PATH` is not known here"),
        ("RUN --mount=source=$PATH,target=/x true", "`RUN --mount $PATH`: the value of `PATH` is not known here"),
        ("ONBUILD COPY $X /x", "`COPY $X`: the value of `X` is not known here"),
        ("ONBUILD RUN --mount=target=/x true", "`RUN --mount` mounts the whole context"),
    ] {
        assert_eq!(one(instruction), format!("all, line 2: {expected}"), "{instruction}");
    }
}

#[test]
fn sources_of_mounts() {
    for (instruction, expected) in [
        ("RUN --mount=type=bind,source=a,target=/x true", "2 a"),
        ("RUN --mount=src=/a/,target=/x --mount=SOURCE=../b,target=/y true", "2 b, 2 a"),
        ("RUN --mount=source=z,src=a,target=/x true", "2 a"),
        ("RUN --mount=source=a*,target=/x true", "2 a*"),
        ("RUN --mount=type=BIND,source=a,target=/x true", "2 a"),
        ("RUN --mount=from=alpine,target=/x true", ""),
        ("RUN --mount=from=,source=a,target=/x true", "2 a"),
        ("RUN --mount=type=cache,target=/x true", ""),
        ("RUN --mount=type=cache,source=a,target=/x true", ""),
        ("RUN --mount=type=secret,id=a,target=/x --mount=type=ssh true", ""),
        ("RUN --mount=type=tmpfs,target=/x --network=none true", ""),
        ("RUN echo --mount=target=/x", ""),
    ] {
        assert_eq!(one(instruction), expected, "{instruction}");
    }
}

#[test]
fn variables_are_those_of_the_stage() {
    for (text, expected) in [
        ("ARG A=g\nFROM scratch\nCOPY x$A /", "3 x"),
        ("ARG A=g\nFROM scratch\nARG A\nCOPY x$A /", "4 xg"),
        ("ARG A=g\nFROM scratch\nARG A=s\nCOPY x$A /", "4 xs"),
        ("FROM scratch\nARG A\nCOPY x$A /", "3 x"),
        ("FROM scratch\nARG GIVEN=s\nCOPY $GIVEN /", "3 given"),
        ("FROM scratch\nARG GIVEN\nCOPY $GIVEN /", "3 given"),
        ("FROM scratch\nCOPY x$GIVEN /", "2 x"),
        // Whether `ENV` or `ARG`, the last one wins.
        ("FROM scratch\nENV A=e\nARG A=a\nCOPY $A /", "4 a"),
        ("FROM scratch\nARG A=a\nENV A=e\nCOPY $A /", "4 e"),
        ("FROM scratch\nENV GIVEN=e\nARG GIVEN=a\nCOPY $GIVEN /", "4 given"),
        ("FROM scratch\nENV A=e\nARG A\nCOPY $A /", "4 e"),
        ("FROM scratch\nARG A=a B=$A\nCOPY $B /", "3 a"),
        ("FROM scratch\nENV A=1\nENV A=2 B=$A\nCOPY $B /", "4 1"),
        ("FROM scratch\nENV K=Z\nENV $K=z\nCOPY $Z /", "4 z"),
        ("FROM scratch\nENV A one two\nCOPY [\"$A\", \"/\"]", "3 one two"),
        ("FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY bin-$TARGETARCH$TARGETVARIANT /", "3 bin-arm64"),
        ("FROM scratch\nCOPY bin-$TARGETARCH /", "2 bin-"),
        ("FROM scratch AS p\nARG A=a\nENV B=b\nFROM p\nCOPY $A$B /", "5 ab"),
        ("FROM scratch AS p\nARG A=a\nFROM scratch\nCOPY x$A /", "4 x"),
        ("FROM alpine\nARG A=a\nCOPY $A /", "3 a"),
        ("FROM alpine\nENV A=a\nRUN --mount=source=$A,target=/x true", "3 a"),
        ("FROM scratch\nCOPY $A*b /", "2 * 1"),
        // What a base image sets is not in the Dockerfile.
        ("FROM alpine\nCOPY x$A /", "all, line 2: `COPY x$A`: the value of `A` is not known here"),
        ("FROM alpine\nARG A\nCOPY x$A /", "all, line 3: `COPY x$A`: the value of `A` is not known here"),
        ("FROM alpine AS p\nFROM p\nCOPY x$A /", "all, line 3: `COPY x$A`: the value of `A` is not known here"),
        ("FROM alpine\nENV B=$A\nCOPY x$B /", "all, line 3: `COPY x$B`: the value of `B` is not known here"),
        ("FROM scratch\nENV A$PATH=x\nCOPY x$B /", "all, line 3: `COPY x$B`: the value of `B` is not known here"),
        (
            "FROM scratch AS p\nONBUILD ENV A=1\nFROM p\nCOPY x$A /",
            "all, line 4: `COPY x$A`: the value of `A` is not known here",
        ),
        (
            "FROM scratch\nARG TARGETSTAGE\nCOPY $TARGETSTAGE /",
            "all, line 3: `COPY $TARGETSTAGE`: the value of `TARGETSTAGE` is not known here",
        ),
    ] {
        assert_eq!(told(text, &[("GIVEN", "given")]).join(", "), expected, "{text}");
    }
}

#[test]
fn only_known_frontends_are_trusted() {
    let with = |image: &str| told(&format!("# syntax={image}\nFROM scratch\nCOPY a /"), &[]).join(", ");
    for image in ["docker/dockerfile", "docker/dockerfile:1-labs", "mirror:5000/docker/dockerfile-upstream:m@sha256:1"]
    {
        assert_eq!(with(image), "3 a", "{image}");
    }
    assert_eq!(with("x/dockerfile:1"), "all, line 1: `x/dockerfile:1` may read the Dockerfile in its own way");
    assert_eq!(
        told("FROM scratch", &[("BUILDKIT_SYNTAX", "notdocker/dockerfile")]),
        ["all: `notdocker/dockerfile` may read the Dockerfile in its own way"]
    );
    let whole = Inputs::Whole { line: Some(3), because: "unknown instruction `X`".to_owned() };
    assert_eq!(read("FROM scratch\nCOPY a /", &[]).and(whole.clone()), whole);
    let both = read("FROM scratch\nCOPY a /", &[]).and(read("FROM scratch\nCOPY b /", &[]));
    assert_eq!(both, read("FROM scratch\nCOPY a b /", &[]));
}

fn entries(paths: &[&str]) -> Vec<TreeEntry> {
    let entry = |path: &&str| {
        let (path, mode) = match path.split_once(' ') {
            Some((path, "link")) => (path, LINK),
            Some((path, _)) => (path, SUBMODULE),
            None => (*path, 0o100_644),
        };
        TreeEntry { path: path.as_bytes().to_vec(), mode, blob: String::new() }
    };
    let mut entries: Vec<TreeEntry> = paths.iter().map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// The files that the instruction selects; then the reason for all, or what is missing.
fn selected(instruction: &str, entries: &[TreeEntry], ignore: &str) -> String {
    let inputs = read(&format!("FROM scratch\n{instruction}\n"), &[]);
    let selected = select(&inputs, entries, &Ignore::parse(ignore));
    let mut told: Vec<String> =
        selected.files.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    told.extend(selected.whole.map(|(line, because)| format!("all, line {}: {because}", line.unwrap())));
    told.extend(selected.missing.iter().map(|missing| {
        let kind = if missing.is_pattern { "no match for" } else { "no" };
        let ignored = if missing.is_ignored { " but ignored" } else { "" };
        format!("line {}: {kind} {}{ignored}", missing.line, missing.source)
    }));
    told.join(", ")
}

#[test]
fn files_below_the_sources_are_selected() {
    let files =
        entries(&["a", "d/e/f", "d/g", "d-x", "d.y", "jobs/a/conf", "jobs/b/conf", "jobs/b/run", "sub submodule"]);
    for (instruction, ignore, expected) in [
        ("COPY a /", "", "a"),
        ("COPY d /", "", "d/e/f, d/g"),
        ("COPY d d/e a d /", "", "a, d/e/f, d/g"),
        ("COPY d* /", "", "d-x, d.y, d/e/f, d/g"),
        ("COPY jobs/*/conf /", "", "jobs/a/conf, jobs/b/conf, jobs/b/run"),
        ("COPY sub/x /", "", "sub"),
        ("COPY sub/*.x /", "", "sub"),
        ("RUN --mount=source=d,target=/x true", "", "d/e/f, d/g"),
        ("USER u", "", ""),
        ("COPY d /", "d/e", "d/g"),
        ("COPY d /", "*\n!d/e", "d/e/f"),
        ("COPY d /", "d/**", ""),
        ("COPY a no/such jobs/c* /", "", "a, line 2: no match for jobs/c*, line 2: no no/such"),
        ("COPY a/b /", "", "line 2: no a/b"),
        ("COPY a d /", "a\nd", "line 2: no a but ignored, line 2: no d but ignored"),
        ("COPY d* /", "d*", "line 2: no match for d* but ignored"),
        ("COPY . /", "jobs\nsub", "a, d-x, d.y, d/e/f, d/g, all, line 2: `COPY .` copies the whole context"),
    ] {
        assert_eq!(selected(instruction, &files, ignore), expected, "{instruction} {ignore:?}");
    }
}

#[test]
fn symbolic_links_that_a_build_follows_select_all() {
    let files = entries(&["a", "d/l link", "d/t", "jobs/x/l link", "l link"]);
    let all = |link: &str| {
        format!("a, d/l, d/t, jobs/x/l, l, all, line 2: `{link}` is a symbolic link, which a build follows")
    };
    for (instruction, expected) in [
        ("COPY d /", "d/l, d/t".to_owned()),
        ("COPY jobs/* /", "jobs/x/l".to_owned()),
        ("COPY d/l /", all("d/l")),
        ("COPY l/t /", all("l")),
        ("COPY l/*.x /", all("l")),
        ("COPY l* /", all("l")),
        ("COPY jobs/*/* /", all("jobs/x/l")),
        ("COPY jobs/** /", all("jobs/x/l")),
        ("RUN --mount=source=l,target=/x true", all("l")),
    ] {
        assert_eq!(selected(instruction, &files, ""), expected, "{instruction}");
    }
}

#[test]
fn ten_thousand_jobs_take_a_moment() {
    let paths: Vec<String> = (0..10_000)
        .flat_map(|job| ["Dockerfile", "job.json", "src/main", "src/lib"].map(|file| format!("jobs/job-{job}/{file}")))
        .collect();
    let files = entries(&paths.iter().map(String::as_str).collect::<Vec<&str>>());
    let ignore = Ignore::parse(".git\ntarget\n**/*.md\n**/node_modules\n!jobs\n");
    let start = Instant::now();
    let mut count = 0;
    for job in 0..10_000 {
        let text =
            format!("FROM alpine:3\nWORKDIR /app\nCOPY jobs/job-{job}/src jobs/job-{job}/job.json ./\nRUN true\n");
        count += select(&read(&text, &[]), &files, &ignore).files.len();
    }
    assert_eq!(count, 30_000);
    // A debug build takes half a second; reading every file for every job would take minutes.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
