//! The images that a Dockerfile builds from.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::expand::{NoValue, Value, expand};
use crate::dockerfile::instruction::{Dockerfile, Fault, Kind, Stage};
use crate::model::arch::{Arch, Platform};

/// An image that the Dockerfile builds from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The name with its variables replaced: what BuildKit looks up.
    pub written: String,
    /// The first line that names it.
    pub line: usize,
}

/// The images of `FROM`, `COPY --from=` and `RUN --mount=from=`, sorted by line.
///
/// All stages count, also those that the target does not need: which ones it needs is BuildKit's to decide, and an image
/// more in the key costs nothing, while one less would be left to chance. The frontend of `# syntax=` is not among them.
///
/// # Errors
///
/// Names that cannot be known, or that BuildKit would not take.
pub fn bases(
    dockerfile: &Dockerfile,
    args: &BTreeMap<String, String>,
    target: Arch,
    build: Arch,
) -> Result<Vec<Base>, Vec<Fault>> {
    let (globals, mut faults) = Globals::new(dockerfile, args, target, build);
    let mut found: Vec<Base> = Vec::new();
    let mut earlier = BTreeSet::new();
    for stage in &dockerfile.stages {
        match from(stage, &globals, dockerfile.escape) {
            Ok(image) if earlier.contains(image.as_str()) => {}
            Ok(image) => found.push(Base { written: image, line: stage.line }),
            Err(fault) => faults.push(fault),
        }
        earlier.extend(stage.name.as_deref());
    }
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        let images = named(&instruction.kind, dockerfile).into_iter();
        found.extend(images.map(|image| Base { written: image.to_owned(), line: instruction.line }));
    }
    found.retain(|base| base.written != "scratch");
    found.sort_by_key(|base| base.line);
    let mut seen = BTreeSet::new();
    found.retain(|base| seen.insert(base.written.clone()));
    faults.extend(found.iter().filter_map(|base| mistaken_for_a_stage(base, dockerfile)));
    faults.sort_by_key(|fault| fault.line);
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn from(stage: &Stage, globals: &Globals, escape: char) -> Result<String, Fault> {
    let image = &stage.image;
    let expanded = expand(image, escape, &|name| globals.value(name)).map_err(|reason| match reason {
        NoValue::Unknown(name) => Fault::new(stage.line, format!("`{image}`: the value of `{name}` is not known here")),
        NoValue::Refused(what) => Fault::new(stage.line, format!("`{image}`: {what}")),
    })?;
    let text = expanded.text;
    let incomplete = text.is_empty() || text.starts_with(['/', ':', '@']) || text.ends_with(['/', ':', '@']);
    match (incomplete || text.contains(":@"), expanded.unset.first()) {
        (false, _) => Ok(text),
        (true, Some(name)) => Err(Fault::new(
            stage.line,
            format!(
                "`{image}`: `{name}` has no value: give `ARG {name}=…` before the first `FROM`, or a build argument"
            ),
        )),
        (true, None) => Err(Fault::new(stage.line, format!("`{image}` names no image: it stands for `{text}`"))),
    }
}

/// The images, not stages, that an instruction reads.
///
/// A mount counts whatever its type: BuildKit looks its `from` up before it knows the type.
fn named<'a>(kind: &'a Kind, dockerfile: &Dockerfile) -> Vec<&'a str> {
    let is_stage = |name: &str| {
        let name = name.to_lowercase();
        dockerfile.stages.iter().any(|stage| stage.name.as_ref() == Some(&name))
    };
    match kind {
        Kind::Copy(copy) => {
            // Only `COPY --from` takes a stage's number; a mount or `FROM` would take an image of this name.
            copy.from.as_deref().filter(|from| from.parse::<i64>().is_err() && !is_stage(from)).into_iter().collect()
        }
        Kind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from()).filter(|from| !is_stage(from)).collect(),
        Kind::Onbuild(kind) => named(kind, dockerfile),
        Kind::Arg(_) | Kind::Env(_) | Kind::Other => Vec::new(),
    }
}

/// In `FROM node AS node`, a build context named `node`, by which the base is pinned, replaces the *stage* with all that
/// it does: BuildKit looks for it under the stage's name first, and takes no tag and `:latest` for the same.
fn mistaken_for_a_stage(base: &Base, dockerfile: &Dockerfile) -> Option<Fault> {
    let familiar = base.written.strip_prefix("docker.io/").unwrap_or(&base.written);
    let familiar = familiar.strip_prefix("library/").unwrap_or(familiar);
    let familiar = familiar.strip_suffix(":latest").unwrap_or(familiar);
    let stage = dockerfile.stages.iter().find(|stage| stage.name.as_deref() == Some(familiar))?;
    let what = format!("the stage `{familiar}` has the name of the image `{}`: rename the stage", base.written);
    Some(Fault::new(stage.line, what))
}

/// The variables outside of all stages: the platforms, and the `ARG`s before the first `FROM`.
pub struct Globals {
    values: BTreeMap<String, Value>,
}

impl Globals {
    /// The variables, and what is wrong with the defaults of those that have no value for it.
    pub fn new(
        dockerfile: &Dockerfile,
        args: &BTreeMap<String, String>,
        target: Arch,
        build: Arch,
    ) -> (Globals, Vec<Fault>) {
        let mut globals = Globals { values: platforms(args, target, build) };
        let mut faults = Vec::new();
        for arg in &dockerfile.global_args {
            let value = match (args.get(&arg.name), &arg.default) {
                (Some(value), _) => Value::Set(value.clone()),
                (None, None) => continue,
                (None, Some(default)) => match expand(default, dockerfile.escape, &|name| globals.value(name)) {
                    Ok(expanded) => Value::Set(expanded.text),
                    Err(NoValue::Unknown(_)) => Value::Unknown,
                    Err(NoValue::Refused(what)) => {
                        faults.push(Fault::new(arg.line, format!("`ARG {}={default}`: {what}", arg.name)));
                        Value::Unknown
                    }
                },
            };
            globals.values.insert(arg.name.clone(), value);
        }
        (globals, faults)
    }

    pub fn value(&self, name: &str) -> Value {
        self.values.get(name).cloned().unwrap_or(Value::Unset)
    }
}

/// The variables that BuildKit sets; an argument of the same name wins, without any `ARG`.
fn platforms(args: &BTreeMap<String, String>, target: Arch, build: Arch) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (side, arch) in [("TARGET", target), ("BUILD", build)] {
        let platform = Platform::from(arch).to_string();
        for (what, value) in [
            ("PLATFORM", platform.as_str()),
            ("OS", "linux"),
            ("ARCH", arch.as_str()),
            ("VARIANT", ""),
            ("OSVERSION", ""),
        ] {
            let name = format!("{side}{what}");
            let value = args.get(&name).map_or(value, String::as_str).to_owned();
            values.insert(name, Value::Set(value));
        }
    }
    // It is the name of the stage that is built, and nobody has told us which.
    values.insert("TARGETSTAGE".to_owned(), Value::Unknown);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bases as `line name`, or the faults.
    fn told(text: &str, args: &[(&str, &str)]) -> Vec<String> {
        let dockerfile = Dockerfile::parse(text).unwrap();
        let args = args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        match bases(&dockerfile, &args, Arch::Arm64, Arch::Amd64) {
            Ok(bases) => bases.iter().map(|base| format!("{} {}", base.line, base.written)).collect(),
            Err(faults) => faults.iter().map(Fault::to_string).collect(),
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
            told(text, &[]),
            [
                "1 busybox:1.37",
                "6 alpine:3",
                "9 cache/image",
                "10 0",
                "12 debian:12",
                "15 busybox@sha256:0123",
                "16 TWO"
            ]
        );
        assert_eq!(
            told("FROM later\nFROM a AS later\nCOPY --from=later a b", &[]),
            ["2: the stage `later` has the name of the image `later`: rename the stage"].map(|s| format!("line {s}"))
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
            ("FROM scratch\nARG X=a\nFROM b${X}", "3 b"),
            (
                "FROM $TARGETPLATFORM.$TARGETOS.$TARGETARCH.x${TARGETVARIANT-none}.$BUILDPLATFORM.$BUILDOS.$BUILDARCH.y$BUILDVARIANT",
                "1 linux/arm64.linux.arm64.x.linux/amd64.linux.amd64.y",
            ),
            ("ARG TARGETARCH=q\nFROM x-$TARGETARCH", "2 x-q"),
        ] {
            assert_eq!(told(text, &[("GIVEN", "given")]), [expected], "{text}");
        }
        assert_eq!(told("FROM x-$TARGETARCH", &[("TARGETARCH", "z")]), ["1 x-z"]);
    }

    #[test]
    fn names_that_cannot_be_known_are_refused_together() {
        let text = "ARG X\nFROM $X\nFROM a:$X\nFROM ${X:?say-it}\nFROM ${X#v}\nFROM a-$TARGETSTAGE\nFROM a:\nFROM b";
        assert_eq!(
            told(text, &[]),
            [
                "line 2: `$X`: `X` has no value: give `ARG X=…` before the first `FROM`, or a build argument",
                "line 3: `a:$X`: `X` has no value: give `ARG X=…` before the first `FROM`, or a build argument",
                "line 4: `${X:?say-it}`: X: say-it",
                "line 5: `${X#v}`: `${X#…}` is not understood here",
                "line 6: `a-$TARGETSTAGE`: the value of `TARGETSTAGE` is not known here",
                "line 7: `a:` names no image: it stands for `a:`",
            ]
        );
        assert_eq!(
            told("ARG X=${Y^}\nFROM a$X", &[]),
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
                told(&format!("FROM {image} AS node\nFROM node"), &[]),
                [format!("line 1: the stage `node` has the name of the image `{image}`: rename the stage")]
            );
        }
        assert_eq!(told("FROM node:22 AS node\nFROM node", &[]), ["1 node:22"]);
    }
}
