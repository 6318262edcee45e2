//! Unit tests of `reading.rs`. Every rule was tried with BuildKit.

use super::*;

fn args(args: &[(&str, &str)]) -> BTreeMap<String, String> {
    args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The bases as `line name`, or the faults.
fn named(text: &str, given: &[(&str, &str)]) -> Vec<String> {
    let line = |base: &Base| base.line.map_or("argument".to_owned(), |line| line.to_string());
    match Dockerfile::parse(text).unwrap().bases(&args(given), &[Arch::Arm64], None) {
        Ok(bases) => bases.iter().map(|base| format!("{} {}", line(base), base.written)).collect(),
        Err(faults) => faults.iter().map(|fault| format!("line {}: {}", fault.line, fault.what)).collect(),
    }
}

#[test]
fn images_are_told_from_stages() {
    let text = "\
FROM busybox:1.37 AS One
FROM one AS two
COPY --from=ONE a b
COPY --from=0 a b
COPY --from=+1 a b
COPY --from=alpine:3 a b
COPY --from=scratch a b
COPY --from= a b
RUN --mount=from=two,target=/x --mount=type=cache,from=cache/image,target=/c true
RUN --mount=type=tmpfs,from=0,target=/x true
ONBUILD COPY --from=busybox:1.37 a b
ONBUILD RUN --mount=from=debian:12,target=/x true
ADD https://example.com/x /x
FROM scratch
FROM busybox@sha256:0123 AS later
FROM TWO
";
    assert_eq!(
        named(text, &[]),
        ["1 busybox:1.37", "6 alpine:3", "9 cache/image", "10 0", "12 debian:12", "15 busybox@sha256:0123", "16 TWO"]
    );
    assert_eq!(
        named("FROM later\nFROM a AS later\nCOPY --from=later a b", &[]),
        ["2: the stage `later` has the name of the image `later`"].map(|s| format!("line {s}"))
    );
}

#[test]
fn arguments_are_replaced() {
    for (text, expected) in [
        ("ARG V=1.37\nFROM busybox:$V", "2 busybox:1.37"),
        ("ARG V=1.37\nFROM busybox:${V}-x", "2 busybox:1.37-x"),
        ("ARG N=busybox V=\"$N:1\"\nFROM '$V'$V", "2 $Vbusybox:1"),
        ("ARG GIVEN=default\nFROM a:$GIVEN", "2 a:given"),
        ("ARG GIVEN\nFROM a:$GIVEN", "2 a:given"),
        ("FROM a$GIVEN", "1 a"),
        ("FROM a:${GIVEN:-b}", "1 a:b"),
        ("ARG X=\nFROM a:${X:-b}", "2 a:b"),
        ("ARG X=\nFROM a${X-b}", "2 a"),
        ("ARG X=1\nFROM a${X:+:b}", "2 a:b"),
        ("FROM a${X+b}", "1 a"),
        ("ARG X=1\nFROM a:${X:?none}", "2 a:1"),
        ("ARG V=v1 ARCH=${TARGETARCH/arm64/aarch64}\nFROM a:${V#v}-$ARCH", "2 a:1-aarch64"),
        ("FROM scratch\nARG X=a\nFROM b${X}", "3 b"),
        (
            "FROM $TARGETPLATFORM.$TARGETOS.$TARGETARCH.x${TARGETVARIANT-none}.$BUILDOS.y$BUILDVARIANT",
            "1 linux/arm64.linux.arm64.x.linux.y",
        ),
        ("ARG TARGETARCH=q\nFROM x-$TARGETARCH", "2 x-q"),
    ] {
        assert_eq!(named(text, &[("GIVEN", "given")]), [expected], "{text}");
    }
    assert_eq!(named("FROM x-$TARGETARCH", &[("TARGETARCH", "z")]), ["1 x-z"]);
}

#[test]
fn names_that_cannot_be_known_are_refused_together() {
    let text =
        "ARG X\nFROM $X\nFROM a:$X\nFROM ${X:?say-it}\nFROM a${TARGETSTAGE#v}\nFROM a-$TARGETSTAGE\nFROM a:\nFROM b";
    assert_eq!(
        named(text, &[]),
        [
            "line 2: `$X`: `X` has no value",
            "line 3: `a:$X`: `X` has no value",
            "line 4: `${X:?say-it}`: X: say-it",
            "line 5: `a${TARGETSTAGE#v}`: the value of `TARGETSTAGE` is not known here",
            "line 6: `a-$TARGETSTAGE`: the value of `TARGETSTAGE` is not known here",
            "line 7: `a:` names no image: it stands for `a:`",
        ]
    );
    assert_eq!(
        named("ARG X=${Y^}\nFROM a$X", &[]),
        [
            "line 1: `ARG X=${Y^}`: unsupported modifier `^` after `${Y`",
            "line 2: `a$X`: the value of `X` is not known here",
        ]
    );
}

#[test]
fn a_stage_named_like_its_image_would_be_replaced() {
    for image in ["node", "node:latest", "docker.io/library/node"] {
        assert_eq!(
            named(&format!("FROM {image} AS node\nFROM node"), &[]),
            [format!("line 1: the stage `node` has the name of the image `{image}`")]
        );
    }
    assert_eq!(named("FROM node:22 AS node\nFROM node", &[]), ["1 node:22"]);
}

/// The paths as `line path`, patterns with `*` and their depth after them; or the reason for all of the context.
fn told(text: &str, given: &[(&str, &str)]) -> Vec<String> {
    reads(&Dockerfile::parse(text).unwrap().inputs(&args(given), &[Arch::Arm64]))
}

fn reads(inputs: &Inputs) -> Vec<String> {
    match inputs {
        Inputs::Whole { line: Some(line), because } => vec![format!("all, line {line}: {because}")],
        Inputs::Whole { line: None, because } => vec![format!("all: {because}")],
        Inputs::Sources(sources) => sources
            .iter()
            .map(|source| {
                let line = source.line.map_or("elsewhere".to_owned(), |line| line.to_string());
                match source.depth {
                    _ if !source.is_pattern => format!("{line} {}", source.path),
                    usize::MAX => format!("{line} {}* any", source.path),
                    depth => format!("{line} {}* {depth}", source.path),
                }
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
        ("ADD https://x/$PATH.tgz \"http://x/$PATH\" git@x.org:$PATH a /x", "2 a"),
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
        ("COPY ${PATH#y} /x", "`COPY ${PATH#y}`: the value of `PATH` is not known here"),
        ("ADD $PATH://x /x", "`ADD $PATH://x`: the value of `PATH` is not known here"),
        ("COPY https://x/$PATH /x", "`COPY https://x/$PATH`: the value of `PATH` is not known here"),
        ("COPY --new a /x", "`COPY --new` is not known here"),
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
        ("FROM scratch\nARG TARGETARCH ARCH=${TARGETARCH/arm64/aarch64}\nCOPY bin-$ARCH /", "3 bin-aarch64"),
        ("FROM alpine\nARG V=v1.2\nCOPY ${V#v} ${V%.*} ${V//[.]/} /", "3 1.2, 3 v1, 3 v1.2"),
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
}

/// Of several architectures: the bases, then what is read.
fn of_arches(text: &str, arches: &[Arch]) -> String {
    let file = Dockerfile::parse(text).unwrap();
    let bases = file.bases(&args(&[]), arches, None).unwrap();
    let bases: Vec<&str> = bases.iter().map(|base| base.written.as_str()).collect();
    format!("{}; {}", bases.join(" "), reads(&file.inputs(&args(&[]), arches)).join(", "))
}

#[test]
fn every_target_counts_and_every_builder() {
    let text = "FROM a:$TARGETARCH\nARG TARGETARCH\nCOPY x-$TARGETARCH /";
    assert_eq!(of_arches(text, &[Arch::Amd64]), "a:amd64; 3 x-amd64");
    assert_eq!(of_arches(text, &Arch::ALL), "a:amd64 a:arm64; 3 x-amd64, 3 x-arm64");
    let text = "FROM --platform=$BUILDPLATFORM a:$BUILDARCH AS b\nARG BUILDARCH\nCOPY x-$BUILDARCH /\nFROM scratch";
    assert_eq!(of_arches(text, &[Arch::Amd64]), "a:amd64 a:arm64; 3 x-amd64, 3 x-arm64");
    // A name that is put together over two lines is one.
    assert_eq!(of_arches("FROM a:$TARGET\\\nARCH", &Arch::ALL), "a:amd64 a:arm64; ");
}

#[test]
fn the_frontend_is_a_base() {
    let bases =
        |text: &str, given: &[(&str, &str)]| Dockerfile::parse(text).unwrap().bases(&args(given), &Arch::ALL, None);
    let base = |written: &str, line, role| Base { written: written.to_owned(), line, role };
    let text = "# syntax=docker/dockerfile:1 x\nFROM docker/dockerfile:1\nFROM docker/dockerfile:1";
    let image = base("docker/dockerfile:1", Some(2), BaseRole::Image);
    let directive = base("docker/dockerfile:1", Some(1), BaseRole::Frontend);
    // Each name is there once, even if it has both roles.
    assert_eq!(bases(text, &[]), Ok(vec![directive]));
    let argument = base("other/dockerfile:2", None, BaseRole::Frontend);
    assert_eq!(bases(text, &[("BUILDKIT_SYNTAX", " other/dockerfile:2 x=y")]), Ok(vec![argument, image]));
}

#[test]
fn platforms_of_the_built_chain_are_those_of_the_target() {
    let faults = |text: &str, arches: &[Arch], stage: Option<&str>| {
        let faults =
            Dockerfile::parse(text).unwrap().foreign_platforms(&args(&[("GIVEN", "linux/amd64")]), arches, stage);
        faults.iter().map(|fault| format!("{}: {}", fault.line, fault.what)).collect::<Vec<String>>().join(", ")
    };
    let foreign = |platform: &str, arch: &str| {
        format!("1: `FROM --platform={platform}` gives an image for {arch} the programs of another architecture")
    };
    for (platform, of_amd64, of_arm64) in [
        ("linux/amd64", true, false),
        ("linux/x86_64", true, false),
        ("linux/arm64", false, true),
        ("linux/arm64/v8", false, true),
        ("linux/arm/v7", false, false),
        ("windows/amd64", false, false),
        ("$TARGETPLATFORM", true, true),
        ("linux/${TARGETARCH}", true, true),
        ("$BUILDPLATFORM", false, false),
        ("${NONE:-$TARGETPLATFORM}", true, true),
        ("$NONE", true, true),
    ] {
        let text = format!("FROM --platform={platform} a\nFROM b AS other");
        for (arch, fits) in [(Arch::Amd64, of_amd64), (Arch::Arm64, of_arm64)] {
            let expected = if fits { String::new() } else { foreign(platform, arch.as_str()) };
            let built = text.replace(" a\n", " a AS built\n");
            assert_eq!(faults(&built, &[arch], Some("Built")), expected, "{platform} {arch}");
        }
        assert_eq!(faults(&text, &Arch::ALL, None), "", "{platform}");
        assert_eq!(faults(&text, &Arch::ALL, Some("none")), "", "{platform}");
    }
    let unknown =
        "1: `FROM --platform=$TARGETSTAGE` cannot be compared with amd64: the value of `TARGETSTAGE` is not known here";
    assert_eq!(faults("FROM --platform=$TARGETSTAGE a", &Arch::ALL, None), unknown);
    assert_eq!(
        faults("ARG GIVEN\nFROM --platform=$GIVEN a", &Arch::ALL, None),
        foreign("$GIVEN", "arm64").replace("1:", "2:")
    );
}

#[test]
fn the_chain_leads_through_stages_and_not_through_copies() {
    let text = "FROM --platform=linux/amd64 a AS tools
FROM --platform=$BUILDPLATFORM b AS one
FROM one AS two
COPY --from=tools x y
FROM --platform=linux/amd64 c AS one
FROM two
";
    let file = Dockerfile::parse(text).unwrap();
    let lines = |stage| {
        let faults = file.foreign_platforms(&args(&[]), &Arch::ALL, stage);
        faults.iter().map(|fault| fault.line).collect::<Vec<usize>>()
    };
    assert_eq!(lines(None), [2]);
    assert_eq!(lines(Some("two")), [2]);
    assert_eq!(lines(Some("one")), [5]);
    assert_eq!(lines(Some("tools")), [1]);
    assert_eq!(
        file.foreign_platforms(&args(&[]), &Arch::ALL, None)[0].at("jobs/job/Dockerfile").to_string(),
        "jobs/job/Dockerfile:2: `FROM --platform=$BUILDPLATFORM` gives an image for amd64 the programs of another architecture
  rule: an image holds programs of its own architecture, as do the stages that it begins with
  help: leave `--platform` out here; tools of the builder's architecture go into a stage that the image does not begin with, and that hands over files by `COPY --from`"
    );
}

#[test]
fn the_first_image_is_at_the_end_of_the_chain() {
    let first = |text: &str, stage: Option<&str>| {
        let images = Dockerfile::parse(text).unwrap().first_images(&args(&[("GIVEN", "g")]), &Arch::ALL, stage);
        let of = |(arch, names): (&Arch, &BTreeSet<String>)| {
            format!("{arch} {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        images.iter().map(of).collect::<Vec<String>>().join(", ")
    };
    let stages = "FROM a AS one\nFROM b AS two\nCOPY --from=one x y\nFROM two\nFROM scratch AS none\n";
    assert_eq!(first(stages, None), "amd64 , arm64 ");
    assert_eq!(first(stages, Some("Two")), "amd64 b, arm64 b");
    assert_eq!(first(&format!("{stages}FROM two\n"), None), "amd64 b, arm64 b");
    assert_eq!(first("ARG GIVEN\nARG V=1\nFROM $GIVEN:$V", None), "amd64 g:1, arm64 g:1");
    assert_eq!(first("FROM a-$TARGETARCH", None), "amd64 a-amd64, arm64 a-arm64");
    assert_eq!(first("FROM a-$BUILDARCH", None), "amd64 a-amd64 a-arm64, arm64 a-amd64 a-arm64");
    // BuildKit tells names of stages from others by their case here, and here alone.
    assert_eq!(first("FROM a AS base\nFROM Base", None), "amd64 Base, arm64 Base");
    assert_eq!(first("# syntax=docker/dockerfile:1\nFROM a", None), "amd64 a, arm64 a");
    assert_eq!(first("# syntax=other/dockerfile\nFROM a", None), "");
}

#[test]
fn what_the_triggers_of_a_base_read() {
    let read = |triggers: &[&str]| {
        let triggers: Vec<String> = triggers.iter().map(|trigger| trigger.to_string()).collect();
        reads(&onbuild_inputs(&triggers, &BTreeMap::new(), &Arch::ALL)).join(", ")
    };
    assert_eq!(read(&[]), "");
    assert_eq!(read(&["RUN true", "COPY jobs/lib jobs/a* /x/"]), "3 jobs/a* 2, 3 jobs/lib");
    assert_eq!(read(&["ARG DIR=lib", "COPY jobs/$DIR /x"]), "3 jobs/lib");
    assert_eq!(read(&["COPY --from=0 . /", "RUN --mount=source=a,target=/x true"]), "3 a");
    assert_eq!(read(&["ADD a /x", "COPY . /app"]), "all, line 3: `COPY .` copies the whole context");
    assert_eq!(read(&["COPY $X /app"]), "all, line 2: `COPY $X`: the value of `X` is not known here");
    assert_eq!(read(&["COPPY a b"]), "all: unknown instruction `COPPY`");
}

#[test]
fn a_text_that_doubles_with_each_line_makes_the_whole_context_count() {
    let doubled = "ENV A=$A$A\n".repeat(60);
    let file = Dockerfile::parse(&format!("FROM scratch\nENV A=xxxx\n{doubled}COPY $A /\n")).unwrap();
    let because = "`COPY $A`: the value of `A` is not known here".to_owned();
    assert_eq!(file.inputs(&Arguments::new(), &Arch::ALL), Inputs::Whole { line: Some(63), because });
}
