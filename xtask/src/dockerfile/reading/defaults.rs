//! Defaults of `ARG` for the variables that BuildKit sets: they win over its value, whichever the platform is.

use std::collections::BTreeSet;

use super::{Arguments, Reading, Variables};
use crate::dockerfile::{Dockerfile, Effect, Instruction};
use crate::model::Arch;

impl Dockerfile {
    /// The lines with such defaults, and what stands there: where one of the architectures, or a builder of another
    /// one, gets a value that BuildKit would not have set. A build argument wins over all defaults.
    ///
    /// Before the first `FROM`, a default may fall back on BuildKit's value, as `${BUILDPLATFORM:-linux/amd64}` does;
    /// in a stage, the variable has no value before its `ARG`.
    pub fn platform_defaults(&self, args: &Arguments, arches: &[Arch]) -> BTreeSet<(usize, String)> {
        let mut found = BTreeSet::new();
        if !self.names_platforms {
            return found;
        }
        let unknown = Variables::unknown(self.escape);
        for (target, build) in arches.iter().flat_map(|target| Arch::ALL.map(|build| (*target, build))) {
            let set = Variables::of_platforms(args, target, build, self.escape);
            let globals = Reading::new(self, args, target, build).globals;
            let global = defaults(&self.globals).map(|default| (default, globals.get(default.1)));
            let in_stages = defaults(self.stages.iter().flat_map(|stage| &stage.instructions));
            let in_stages = in_stages.map(|default| (default, unknown.expand(default.2).map(Some)));
            let replaced = global.chain(in_stages).filter(|((_, name, _), value)| {
                let set = set.get(name);
                matches!(set, Ok(Some(_))) && *value != set && !args.contains_key(*name)
            });
            found.extend(replaced.map(|((line, name, default), _)| (line, format!("ARG {name}={default}"))));
        }
        found
    }
}

/// The lines, names and values of the defaults that instructions give.
fn defaults<'a>(
    instructions: impl IntoIterator<Item = &'a Instruction>,
) -> impl Iterator<Item = (usize, &'a str, &'a str)> {
    instructions.into_iter().flat_map(|Instruction { line, effect }| {
        let args = if let Effect::Arg(args) = effect { args.as_slice() } else { &[] };
        args.iter().filter_map(|arg| Some((*line, arg.name.as_str(), arg.value.as_deref()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_replaces_what_buildkit_sets_is_found() {
        let said = |text: &str, arches: &[Arch]| {
            let found = Dockerfile::parse(text).unwrap().platform_defaults(&Arguments::new(), arches);
            found.into_iter().map(|(line, text)| format!("{line} {text}")).collect::<Vec<_>>().join(", ")
        };
        let (own, from) = ([Arch::Amd64], "FROM --platform=$BUILDPLATFORM a AS b\nFROM c");
        for (text, expected) in [
            ("ARG BUILDPLATFORM=linux/amd64", "1 ARG BUILDPLATFORM=linux/amd64"),
            ("ARG X=1\nARG TARGETARCH=\"arm64\" BUILDARCH=arm64", "2 ARG BUILDARCH=arm64, 2 ARG TARGETARCH=\"arm64\""),
            ("ARG X=amd64\nARG BUILDARCH=$X", "2 ARG BUILDARCH=$X"),
            // What every platform here has.
            ("ARG TARGETOS=linux BUILDVARIANT= TARGETVARIANT", ""),
            ("ARG BUILDPLATFORM=${BUILDPLATFORM:-linux/amd64}", ""),
            ("ARG BUILDPLATFORM\nARG TARGETSTAGE=x PLATFORM=linux/amd64", ""),
            // The image is for no other architecture.
            ("ARG TARGETARCH=amd64", ""),
        ] {
            assert_eq!(said(&format!("{text}\n{from}"), &own), expected, "{text}");
        }
        for (text, expected) in [
            ("ARG TARGETARCH=amd64", "2 ARG TARGETARCH=amd64"),
            ("ARG TARGETARCH=${TARGETARCH:-amd64}", "2 ARG TARGETARCH=${TARGETARCH:-amd64}"),
            ("ARG TARGETARCH TARGETOS=linux\nENV BUILDARCH=amd64", ""),
        ] {
            assert_eq!(said(&format!("FROM a\n{text}"), &Arch::ALL), expected, "{text}");
        }
        let given = Arguments::from([("TARGETARCH".to_owned(), "arm64".to_owned())]);
        let file = Dockerfile::parse("ARG TARGETARCH=amd64\nFROM a\nARG TARGETARCH=amd64").unwrap();
        assert_eq!(file.platform_defaults(&given, &Arch::ALL), BTreeSet::new());
    }
}
