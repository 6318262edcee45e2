//! CPU architectures and the platforms they stand for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::problem::Problem;

/// A CPU architecture that images are built for, by its name in the OCI image specification
/// (the values of Go's `GOARCH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// Every architecture this tool knows, in the order in which it lists them.
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

    /// The architecture's name in images and tags: `amd64` or `arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The platform of its images, as registries and BuildKit name it.
    pub fn platform(self) -> &'static str {
        match self {
            Arch::Amd64 => "linux/amd64",
            Arch::Arm64 => "linux/arm64",
        }
    }

    /// The architecture that this program was compiled for, if it is one of ours.
    pub fn of_this_machine() -> Option<Arch> {
        Arch::from_alias(std::env::consts::ARCH)
    }

    /// The architecture that people and other tools call by another name, also that of its platform.
    pub fn from_alias(name: &str) -> Option<Arch> {
        match name.trim_start_matches("linux/").to_lowercase().as_str() {
            "amd64" | "x86_64" | "x86-64" | "x64" | "amd64/v1" | "amd64/v2" | "amd64/v3" => Some(Arch::Amd64),
            "arm64" | "aarch64" | "arm64/v8" | "armv8" => Some(Arch::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = Problem;

    fn from_str(name: &str) -> Result<Arch, Problem> {
        if let Some(arch) = Arch::ALL.into_iter().find(|arch| arch.as_str() == name) {
            return Ok(arch);
        }
        let problem = Problem::new(format!("architecture `{name}`"), "not an architecture that is built here")
            .rule("one of `amd64`, `arm64`");
        Err(match Arch::from_alias(name) {
            Some(arch) => problem.help(format!("did you mean `{arch}`?")),
            None => problem.help("name one of these"),
        })
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Arch, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse::<Arch>().unwrap(), arch);
            assert_eq!(arch.platform(), format!("linux/{arch}"));
        }
    }

    #[test]
    fn other_names_are_refused_with_a_hint() {
        for (name, hint) in [
            ("aarch64", "arm64"),
            ("x86_64", "amd64"),
            ("linux/arm64", "arm64"),
            ("ARM64", "arm64"),
            ("AMD64", "amd64"),
        ] {
            let problem = name.parse::<Arch>().unwrap_err();
            assert_eq!(problem.help.as_deref(), Some(format!("did you mean `{hint}`?").as_str()), "{name}");
        }
        assert_eq!(
            "s390x".parse::<Arch>().unwrap_err().to_string(),
            "architecture `s390x`: not an architecture that is built here\n  rule: one of `amd64`, `arm64`\n  \
             help: name one of these"
        );
        assert!("".parse::<Arch>().is_err());
    }
}
